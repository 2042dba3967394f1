"""IGS beside its peers: seconds, memory and right digits, measured in one run.

Two networks, each as trained and with its hidden units scaled by 10^(6·N(0,1)), which changes
neither the function nor the exact IGS, up to the rounding of the weights. Every route runs in a
fresh process with one fixed number of threads: the short routes alone on the machine, the long
ones, which form a dense F, once and side by side with each other and with the truths.

The truth uses neither the library nor floating-point linear algebra: see ``truth``.

    python benchmarks/exact.py [--threads 1] [--markdown] [--quick]
"""

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from itertools import pairwise, product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

import igsref
from igsref.curvature.factor import differences
from igsref.measures.textbook import AUTHORS_RCOND
from igsref.transforms.symmetries import hidden_widths, scale_nodes

REPETITIONS = 5
PATIENCE = 5.0
MOST_DIGITS = 16.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PEERS = ("torch", "numpy", "scipy", "curvlinops-for-pytorch", "nngeometry", "python-flint")

Data = tuple[Tensor, Tensor]
Run = Callable[[], float | None]


# The networks.


@dataclass(frozen=True)
class Network:
    """A ReLU perceptron and its labelled samples, in arrays, so that it travels to processes.

    layers: (weight, bias) from input to output, float64.
    """

    name: str
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    inputs: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        """m."""
        return sum(weight.size + bias.size for weight, bias in self.layers)

    @property
    def rows(self) -> int:
        """N(C−1)."""
        return len(self.labels) * (len(self.layers[-1][1]) - 1)


def three_gaussians(widths: Sequence[int], samples: int) -> Network:
    """The network of the paper's Figure 1, on three Gaussians in the plane."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.tensor([[0.0, 2.0], [-(3**0.5), -1.0], [3**0.5, -1.0]], dtype=torch.float64)
    labels = torch.arange(samples) % 3
    noise = torch.randn(samples, 2, generator=generator, dtype=torch.float64)
    return _trained("Three Gaussians", widths, centres[labels] + 0.7 * noise, labels, steps=100)


def digits(widths: Sequence[int], samples: int) -> Network:
    """A perceptron on the first handwritten digits of scikit-learn, pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    inputs = torch.from_numpy(pixels[:samples] / 16.0)
    return _trained("Digits", widths, inputs, torch.from_numpy(labels[:samples]), steps=100)


def _trained(
    name: str, widths: Sequence[int], inputs: Tensor, labels: Tensor, *, steps: int
) -> Network:
    """Full-batch Adam, stopped while the smallest class probability is far above 1e-12."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = _perceptron(widths)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return _as_network(name, model, inputs.numpy(), labels.numpy())


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        modules += [nn.Linear(fan_in, fan_out, dtype=torch.float64), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def _as_network(name: str, model: nn.Sequential, inputs: np.ndarray, labels: np.ndarray) -> Network:
    parameters = [parameter.detach().numpy() for parameter in model.parameters()]
    layers = tuple(zip(parameters[::2], parameters[1::2], strict=True))
    return Network(name, layers, inputs, labels)


def torch_model(network: Network) -> nn.Sequential:
    """The same network as a module."""
    widths = [network.inputs.shape[1], *(len(bias) for _, bias in network.layers)]
    model = _perceptron(widths)
    arrays = [array for layer in network.layers for array in layer]
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), arrays, strict=True):
            parameter.copy_(torch.from_numpy(array))
    return model


def node_scaled(network: Network) -> Network:
    """Every hidden unit scaled by 10^(6·N(0,1))."""
    generator = torch.Generator().manual_seed(2)
    model = torch_model(network)
    factors = [
        10.0 ** (6.0 * torch.randn(width, generator=generator, dtype=torch.float64))
        for width in hidden_widths(model)
    ]
    return _as_network(network.name, scale_nodes(model, factors), network.inputs, network.labels)


# The routes: (model, data) -> what is timed, a function without arguments.


def igsref_route(model: nn.Module, data: Data) -> Run:
    """igsref.exact_igs, the value and all that comes with it, from model and data."""
    return lambda: igsref.exact_igs(model, data).value


def textbook_route(model: nn.Module, data: Data) -> Run:
    """igsref.textbook_igs: dense F and its eigenvectors in float64, the authors' cut."""
    return lambda: igsref.textbook_igs(model, data)


def floor_route(model: nn.Module, data: Data) -> Run:
    """The Jacobian's class differences on a ready Problem and one LAPACK QR of their size."""
    problem = igsref.as_problem(model, data)

    def run() -> None:
        factor = differences(problem)
        tall = factor.mT if factor.shape[0] <= factor.shape[1] else factor
        torch.linalg.qr(tall, mode="r")

    return run


def curvlinops_route(model: nn.Module, data: Data) -> Run:
    """The dense GGN, F·I, then eigh, cut where torch.linalg.pinv cuts: m·ε·λ_max."""
    from curvlinops import GGNLinearOperator

    def run() -> float:
        parameters = list(model.parameters())
        operator = GGNLinearOperator(model, nn.CrossEntropyLoss(), parameters, [data])
        dense = operator @ torch.eye(operator.shape[1], dtype=torch.float64)
        eigenvalues, eigenvectors = torch.linalg.eigh(dense)
        return _pseudo_inverse_form(_sample_gradients(model, data), eigenvalues, eigenvectors)

    return run


def nngeometry_route(model: nn.Module, data: Data) -> Run:
    """PMatLowRank and its eigendecomposition, one SVD of the NC × m factor; the same cut."""
    from nngeometry import Jacobian
    from nngeometry.metrics import FIM
    from nngeometry.object import PMatLowRank
    from torch.utils.data import DataLoader, TensorDataset

    def losses(inputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(model(inputs), labels, reduction="none")[:, None]

    def run() -> float:
        with _float64_by_default():
            loader = DataLoader(TensorDataset(*data), batch_size=len(data[1]))
            metric = FIM(model, loader, PMatLowRank, variant="classif_logits")
            metric.compute_eigendecomposition()
            gradients = Jacobian(model, loader, function=losses).to_torch()[0]
            return _pseudo_inverse_form(gradients, *metric.get_eigendecomposition())

    return run


def _pseudo_inverse_form(g: Tensor, eigenvalues: Tensor, eigenvectors: Tensor) -> float:
    """(1/N) Σ g_i F⁺ g_iᵀ, eigenvalues up to m·ε·λ_max cut."""
    cut = eigenvectors.shape[0] * torch.finfo(g.dtype).eps * eigenvalues.max()
    kept = eigenvalues > cut
    along = g @ eigenvectors[:, kept]
    return float((along.square() / eigenvalues[kept]).sum(dim=1).mean())


def _sample_gradients(model: nn.Module, data: Data) -> Tensor:
    """g_i, (N, m), in the order of the parameters."""
    parameters = {name: tensor.detach() for name, tensor in model.named_parameters()}

    def loss(theta: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, theta, (x[None],)), y[None])

    blocks = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, *data)
    return torch.cat([block.flatten(start_dim=1) for block in blocks.values()], dim=1)


@contextmanager
def _float64_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


FLOOR, IGSREF, LOW_RANK = "floor: Jacobian + QR", "igsref.exact_igs", "nngeometry low rank"
DENSE, TEXTBOOK = "curvlinops + eigh", "igsref.textbook_igs"
SHORT, LONG = (FLOOR, IGSREF, LOW_RANK), (DENSE, TEXTBOOK)
ROUTES: dict[str, Callable[[nn.Module, Data], Run]] = {
    FLOOR: floor_route,
    IGSREF: igsref_route,
    LOW_RANK: nngeometry_route,
    TEXTBOOK: textbook_route,
    DENSE: curvlinops_route,
}


# Measuring one route, in a process of its own.


@dataclass(frozen=True)
class Measurement:
    """Median wall and CPU seconds of some calls, bytes that the first one added, two values."""

    seconds: float
    cpu_seconds: float
    repetitions: int
    memory: int
    value: float | None
    scaled_value: float | None


def measure(route: str, network: Network, scaled: Network, threads: int) -> Measurement:
    """Time and memory on the network as trained; the value there and on the scaled one.

    The first call shows the memory. If it takes less than PATIENCE seconds it only warms up, and up
    to REPETITIONS others follow, as many as fit in PATIENCE.
    """
    run = _prepared(route, network, threads)
    before = _reset_peak()
    first = _timed(run)
    memory = _peak() - before
    calls = [first] if first.wall >= PATIENCE else []
    while len(calls) < REPETITIONS and sum(call.wall for call in calls) < PATIENCE:
        calls.append(_timed(run))
    wall, cpu = (statistics.median(times) for times in zip(*[c[:2] for c in calls], strict=True))
    scaled_value = _timed(_prepared(route, scaled, threads)).value
    return Measurement(wall, cpu, len(calls), memory, first.value, scaled_value)


def _prepared(route: str, network: Network, threads: int) -> Run:
    torch.set_num_threads(threads)
    data = torch.from_numpy(network.inputs), torch.from_numpy(network.labels)
    return ROUTES[route](torch_model(network), data)


class Call(NamedTuple):
    """Wall seconds, CPU seconds of the process, and what came back."""

    wall: float
    cpu: float
    value: float | None


def _timed(run: Run) -> Call:
    wall, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = run()
    return Call(time.perf_counter() - wall, time.process_time() - cpu, value)


def _reset_peak() -> int:
    """Bytes in use; from here on the high-water mark of this process counts anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """High-water mark of resident memory: VmHWM, since ru_maxrss is inherited and never falls."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


# The truth.


@dataclass(frozen=True)
class Truth:
    """IGS to 30 digits, its ceiling, and the rank of F."""

    value: str
    ceiling: str
    rank: int


def truth(network: Network, *, bits: int = 256) -> Truth:
    """IGS of the very floats of a network, by integer and ball arithmetic.

    1. Hidden units are scaled by powers of two: nothing is rounded and no range moves.
    2. K = D Dᵀ, D the rows J_c − J_y for c ≠ y, is a matrix of integers times a power of two: the
       sum over layers of (products of inputs)·(products of deltas), exactly.
    3. Modulo a prime, K's rank r and r independent rows: no exact rank is smaller. If r = N(C−1),
       IGS is its ceiling Σ (1 − p_y)/p_y; proof complete.
    4. Otherwise the others depend on these: K_SS X = K_ST gives Y = [−X; I] with DᵀY = 0; it must
       hold to 2^(−3·bits/8) in norm, in balls. This shows the rank, up to that threshold.
    5. range(A)'s complement is Z = Λ^(−1/2) Y, so IGS = ceiling − tr((ZᵀZ)⁻¹ QᵀQ), with one row
       v_iᵀZ_i of Q a sample. Λ⁻¹ = diag(1/p) + 11ᵀ/p_y and Λ⁻¹(p − e_y) = 1/p_y, over c ≠ y.
    """
    from flint import ctx

    with ctx.workprec(bits):
        units, slopes, logits = _exact_forward(network)
        probabilities = _exact_softmax(*logits)
        ceiling = sum((1 - p[y]) / p[y] for p, y in zip(probabilities, network.labels, strict=True))
        gram = _exact_gram(network, units, slopes)
        kept = _independent_rows(gram)
        defect = 0
        if len(kept) < len(gram):
            null = _null_vectors(gram, kept, bits)
            defect = _energy_outside(null, probabilities, network.labels)
        return Truth(
            (ceiling - defect).str(30, radius=False), ceiling.str(30, radius=False), len(kept)
        )


def _exact_forward(network: Network) -> tuple[list, list, tuple]:
    """Inputs of every layer with a column of ones, signs of hidden units, logits; exact.

    A matrix is a pair: integers and the k of the factor 2^−k.
    """
    from flint import fmpz, fmpz_mat

    ones = np.ones((len(network.inputs), 1))
    values, shift = _integers(np.hstack([network.inputs, ones]))
    units, slopes = [], []
    for matrix, own in _augmented_layers(network):
        units.append((values, shift))
        preactivations, shift = values * matrix.transpose(), shift + own
        rows = preactivations.tolist()
        slopes.append([[z > 0 for z in row] for row in rows])
        one = fmpz(1) << shift
        values = fmpz_mat([[z if z > 0 else 0 for z in row] + [one] for row in rows])
    return units, slopes[:-1], (preactivations, shift)


def _augmented_layers(network: Network) -> list[tuple]:
    """[W b] of every layer, its hidden units brought to size 1 by powers of two, in integers."""
    layers = [np.hstack([weight, bias[:, None]]) for weight, bias in network.layers]
    for layer, following in pairwise(layers):
        exponents = np.frexp(np.abs(layer).max(axis=1))[1]
        layer[:] = np.ldexp(layer, -exponents[:, None])
        following[:, :-1] = np.ldexp(following[:, :-1], exponents)
    return [_integers(layer) for layer in layers]


def _integers(matrix: np.ndarray) -> tuple:
    from flint import fmpz_mat

    ratios = [[entry.as_integer_ratio() for entry in row] for row in matrix.tolist()]
    shift = max(below.bit_length() - 1 for row in ratios for _, below in row)
    return fmpz_mat(
        [[above * ((1 << shift) // below) for above, below in r] for r in ratios]
    ), shift


def _exact_softmax(logits: object, shift: int) -> list[list]:
    from flint import arb

    weights = [[(arb(f) * arb((1, -shift))).exp() for f in row] for row in logits.tolist()]
    return [[weight / sum(row) for weight in row] for row in weights]


def _exact_gram(network: Network, units: list, slopes: list) -> list[list[int]]:
    """K = D Dᵀ up to a power of two; its rows in the order of sample, then class c ≠ y."""
    deltas = _exact_deltas(network, slopes)
    samples = np.arange(network.rows) // (network.rows // len(network.labels))
    finest = max(2 * (a + d) for (_, a), (_, d) in zip(units, deltas, strict=True))
    total: np.ndarray | int = 0
    for (values, a), (delta, d) in zip(units, deltas, strict=True):
        inner = _as_objects(values * values.transpose())[samples[:, None], samples]
        total = total + inner * _as_objects(delta * delta.transpose()) * 2 ** (finest - 2 * (a + d))
    return total.tolist()


def _exact_deltas(network: Network, slopes: list) -> list[tuple]:
    """∂(f_c − f_y)/∂(pre-activations) of every layer, one row for each sample and c ≠ y."""
    from flint import fmpz_mat

    unit = np.eye(len(network.layers[-1][1]), dtype=int)
    rows = [unit[c] - unit[y] for y in network.labels for c in range(len(unit)) if c != y]
    delta, shift = fmpz_mat([row.tolist() for row in rows]), 0
    deltas = [(delta, shift)]
    layers = _augmented_layers(network)[1:]
    for (matrix, own), slope in zip(reversed(layers), reversed(slopes), strict=True):
        weight = fmpz_mat([row[:-1] for row in matrix.tolist()])
        mask = np.repeat(np.array(slope), len(unit) - 1, axis=0)
        delta, shift = fmpz_mat((_as_objects(delta * weight) * mask).tolist()), shift + own
        deltas.append((delta, shift))
    return deltas[::-1]


def _as_objects(matrix: object) -> np.ndarray:
    """Python's integers in an array."""
    entries = [int(entry) for entry in matrix.entries()]
    return np.array(entries, dtype=object).reshape(matrix.nrows(), matrix.ncols())


def _independent_rows(gram: list[list[int]]) -> list[int]:
    """Rows of K that are independent modulo 2^61 − 1, hence over the rationals."""
    from flint import nmod_mat

    prime = 2**61 - 1
    reduced = [entry % prime for row in gram for entry in row]
    echelon, rank = nmod_mat(len(gram), len(gram), reduced, prime).rref()
    return [next(j for j, entry in enumerate(r) if entry != 0) for r in echelon.tolist()[:rank]]


def _null_vectors(gram: list[list[int]], kept: list[int], bits: int) -> np.ndarray:
    """Y with DᵀY = 0, (N(C−1), N(C−1) − r), its rows scaled back as D's; raises where it fails."""
    from flint import arb, arb_mat

    rest = sorted(set(range(len(gram))) - set(kept))
    scale = [arb((1, -(gram[i][i].bit_length() // 2))) for i in range(len(gram))]

    def block(rows: list[int], columns: list[int]) -> arb_mat:
        return arb_mat([[gram[i][j] * scale[i] * scale[j] for j in columns] for i in rows])

    inside, across = block(kept, kept), block(kept, rest)
    solution = inside.solve(across, algorithm="approx").mid()
    excess = inside * solution - across - across
    x, left = (np.array(part.tolist(), dtype=object) for part in (solution, excess))
    own = [gram[t][t] * scale[t] * scale[t] for t in rest]
    worst = max(abs(energy).upper() for energy in own + (x * left).sum(axis=0))
    if not worst < arb((1, -3 * bits // 4)):
        raise ArithmeticError(f"‖DᵀY‖² is {worst.str(3)}, not 0: raise bits ({bits})")
    null = np.zeros((len(gram), len(rest)), dtype=object)
    null[kept] = -x
    null[rest, range(len(rest))] = arb(1)
    return null * np.array(scale, dtype=object)[:, None]


def _energy_outside(null: np.ndarray, probabilities: list[list], labels: np.ndarray) -> object:
    """Σ_i ‖(I − P) v_i‖² = tr((ZᵀZ)⁻¹ QᵀQ)."""
    from flint import arb, arb_mat

    root = np.array([[p.sqrt() for p in row] for row in probabilities], dtype=object)
    others = np.arange(root.shape[1]) != labels[:, None]
    own = root[~others][:, None]
    sums = null.reshape(len(labels), -1, null.shape[1]).sum(axis=1) / own
    stack = arb_mat(np.vstack([null / root[others][:, None], sums]).tolist())
    along = arb_mat((sums / own).tolist())
    metric, right = stack.transpose() * stack, along.transpose() * along
    solved = metric.solve(right)
    return sum((solved[t, t] for t in range(metric.nrows())), arb(0))


def right_digits(value: float, exact: str) -> float:
    """−log10 of the relative error, within 0 and 16."""
    error = abs(Decimal(value) / Decimal(exact) - 1)
    return MOST_DIGITS if error == 0 else min(MOST_DIGITS, max(0.0, -float(error.log10())))


# The run: short routes one after the other, then long ones and the truths side by side.


@dataclass(frozen=True)
class Case:
    """All that was found for one network: by route, and the truth as trained and scaled."""

    network: Network
    measured: dict[str, Measurement]
    truths: tuple[Truth, Truth]


Submit = Callable[..., Future]


@contextmanager
def fresh_processes(workers: int, threads: int) -> Iterator[Submit]:
    """Submit jobs to new processes, one a job, whose libraries start with that many threads."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
            yield pool.submit
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def this_process(_workers: int, _threads: int) -> Iterator[Submit]:
    """The same face without a process: for a quick look."""

    def submit(job: Callable, *arguments: object) -> Future:
        future: Future = Future()
        future.set_result(job(*arguments))
        return future

    yield submit


def run_cases(networks: Sequence[Network], threads: int, jobs: Callable) -> list[Case]:
    """Everything that the table shows."""
    pairs = [(network, node_scaled(network)) for network in networks]
    found: dict[tuple[str, str], Measurement] = {}
    with jobs(1, threads) as submit:
        for route, pair in product(SHORT, pairs):
            future = submit(measure, route, *pair, threads)
            found[route, pair[0].name] = _announced(route, pair[0], future)
    side_by_side = max(1, (os.cpu_count() or 1) // threads)
    with jobs(side_by_side, threads) as submit:
        long = [
            (r, pair[0], submit(measure, r, *pair, threads)) for pair, r in product(pairs, LONG)
        ]
        truths = [[submit(truth, network) for network in pair] for pair in pairs]
        for route, network, future in long:
            found[route, network.name] = _announced(route, network, future)
        exact = [(plain.result(), scaled.result()) for plain, scaled in truths]
    return [
        Case(network, {route: found[route, network.name] for route in ROUTES}, both)
        for network, both in zip(networks, exact, strict=True)
    ]


def _announced(route: str, network: Network, future: Future) -> Measurement:
    result = future.result()
    _say(f"{network.name}: {route}: {result.seconds:.3g} s")
    return result


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# The table.


HEADER = ("route", "seconds", "CPU s", "÷ floor", "÷ igsref", "peak MB", "digits", "digits, scaled")


def table(case: Case) -> list[tuple[str, ...]]:
    """Rows of text, one a route."""
    return [HEADER, *(_row(case, route) for route in case.measured)]


def _row(case: Case, route: str) -> tuple[str, ...]:
    own = case.measured[route]
    found = (own.value, own.scaled_value)
    accuracy = [
        "–" if value is None else f"{right_digits(value, exact.value):.1f}"
        for value, exact in zip(found, case.truths, strict=True)
    ]
    cpu = own.cpu_seconds
    ratios = [f"{cpu / case.measured[base].cpu_seconds:.3g}" for base in (FLOOR, IGSREF)]
    seconds = f"{own.seconds:.3g}" + (" (once)" if own.repetitions == 1 else "")
    return (route, seconds, f"{cpu:.3g}", *ratios, f"{own.memory / 1e6:.0f}", *accuracy)


def in_plain_text(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width; the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def in_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for a README."""
    rule = ("---", *["---:"] * (len(rows[0]) - 1))
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def heading(case: Case) -> str:
    """Sizes and truths of a network."""
    network, (plain, scaled) = case.network, case.truths
    widths = [network.inputs.shape[1], *(len(bias) for _, bias in network.layers)]
    moved = abs(Decimal(scaled.value) / Decimal(plain.value) - 1)
    return (
        f"{network.name}: {'-'.join(map(str, widths))} ReLU, m = {network.size}, "
        f"N = {len(network.labels)}. True IGS {plain.value[:18]}, ceiling {plain.ceiling[:18]}, "
        f"rank {plain.rank} of {network.rows} rows; rounding the scaled weights moves the true IGS "
        f"by {moved:.0e} of itself."
    )


def footnote(threads: int) -> str:
    """What was measured, on what, and what the peers were asked for."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    peers = ", ".join(f"{name} {version(name)}" for name in PEERS)
    return f"""\
seconds: wall time; median of {REPETITIONS} calls at most after a warm-up, or the first if long.
  Every route runs in a fresh process on {threads} thread(s) ({machine}):
  alone, but for the two dense ones, which run side by side.
÷: ratios of CPU seconds. On one thread these are the wall time of an otherwise idle machine;
  far smaller than the seconds beside them, they show that something else was running.
peak MB: what the first call adds to the resident memory of its process, at its highest.
digits: −log10 of the relative error against the true IGS of the network as trained, and of the
  same network with every hidden unit scaled by 10^(6·N(0,1)), its weights as rounded; 16 at most.
truth: integer and ball arithmetic (python-flint), not igsref; truth() says what it proves.
{DENSE}: GGNLinearOperator @ identity; eigenvalues up to m·ε·λ_max are cut, as
  torch.linalg.pinv does. {LOW_RANK}: FIM as PMatLowRank, its eigendecomposition
  (one SVD), the same cut; its own solve damps, and repeats the SVD for each gradient.
{TEXTBOOK}: float64, the authors' cut {AUTHORS_RCOND:g}·λ_max.
{peers}"""


def targets(case: Case) -> str:
    """Whether the aims of the library are met on this network, in numbers."""
    seconds = {route: own.cpu_seconds for route, own in case.measured.items()}
    scaled = [
        right_digits(case.measured[route].scaled_value, case.truths[1].value)
        for route in (IGSREF, LOW_RANK, TEXTBOOK, DENSE)
    ]
    faster, slower = seconds[DENSE] / seconds[IGSREF], seconds[IGSREF] / seconds[FLOOR]
    return (
        f"aims: ≥ 100 × faster than the dense route: {faster:.0f} ×; ≤ 3 × the floor: "
        f"{slower:.2f} ×; ≥ 10 right digits after scaling: {scaled[0]:.1f}, "
        f"the best other {max(scaled[1:]):.1f}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="of every timed route (1)")
    parser.add_argument("--markdown", action="store_true", help="tables for a README")
    parser.add_argument("--quick", action="store_true", help="tiny networks, in this process")
    options = parser.parse_args(arguments)
    start, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _report(options)
    finally:
        torch.set_num_threads(threads)
    _say(f"{time.perf_counter() - start:.0f} s in all")


def _report(options: argparse.Namespace) -> None:
    if options.quick:
        networks, jobs = [three_gaussians((2, 6, 3), 24), digits((64, 3, 10), 12)], this_process
    else:
        networks = [three_gaussians((2, 70, 70, 3), 300), digits((64, 32, 10), 80)]
        jobs = fresh_processes
    layout = in_markdown if options.markdown else in_plain_text
    for case in run_cases(networks, options.threads, jobs):
        print(f"{heading(case)}\n\n{layout(table(case))}\n\n{targets(case)}\n")
    print(footnote(options.threads))


if __name__ == "__main__":
    main()
