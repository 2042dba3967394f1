"""Every route on another device beside the CPU: what differs, and what rounding allows.

What is compared has one true value, so that no tolerance is tried:

- Both brackets hold the exact IGS. They overlap, and values differ by no more than their widths,
  and 1e-10 of the value (docs/bracket.md).
- Products with A and Aᵀ are sums of m or n terms, rounded in another order. Such errors add up like
  a walk: ``ROUNDINGS`` · eps · √max(n, m) of the norm of the product. TF32 loses more, its unit
  roundoff is 2⁻¹¹, and networks here are small enough to tell the two apart.
- A run that ends because it is near its ceiling misses no more than its tolerance of that.
- Eigenvalues are known to the norm of their residuals, taken afresh, and to the rounding of F.
- ‖A_b‖_F² is the sum of EKFAC's scalings of a block b, whatever its eigenbasis is.
"""

import copy
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

import igsref
from igsref.curvature.kfac import Ekfac, ekfac
from igsref.curvature.operators import FactorOperator, adjoint_error, factor_operator
from igsref.geometry.compressed import saturation_certificate
from igsref.geometry.plan import tall_bytes, wide_bytes

ROUNDINGS = 8.0
"""Roundings that an entry of a product goes through beside its sum, layer by layer."""
SLACK = 1e-10
TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Of runs by Krylov iterations, of the ceiling."""
PAIRS = 3
COLUMNS = 2
DAMPING = 1e-7
SAME_SUMS = 1e-12
"""Relative; what docs/scale.md says of several processes in float64."""
HEADER = ["network", "what", "CPU", "device", "difference", "allowed", ""]


@dataclass(frozen=True, eq=False)
class Case:
    """A network in evaluation mode, its data, whether its factor has full row rank."""

    name: str
    model: nn.Module
    data: tuple[Tensor, Tensor]
    saturated: bool

    def problem(self, device: torch.device) -> igsref.Problem:
        """Model and data on a device."""
        model = copy.deepcopy(self.model).to(device)
        x, y = self.data
        return igsref.as_problem(model, (x.to(device), y.to(device)))


@dataclass(frozen=True)
class Row:
    """One number on the CPU and on the device, and how far apart they may be."""

    what: str
    cpu: float
    device: float
    difference: float
    allowed: float

    @property
    def ok(self) -> bool:
        """False for NaN, too."""
        return self.difference <= self.allowed

    def text(self, network: str) -> list[str]:
        """A line of the table."""
        numbers = [f"{self.cpu:.10g}", f"{self.device:.10g}"]
        verdict = "ok" if self.ok else "FAILS"
        return [
            network,
            self.what,
            *numbers,
            f"{self.difference:.1e}",
            f"{self.allowed:.1e}",
            verdict,
        ]


@dataclass(frozen=True)
class Beside:
    """The same problem on both devices."""

    cpu: igsref.Problem
    device: igsref.Problem

    def product_rounding(self, dtype: torch.dtype) -> float:
        """What a product with A or Aᵀ may be off, relative to its norm."""
        size = max(self.cpu.num_rows, self.cpu.num_parameters)
        return ROUNDINGS * torch.finfo(dtype).eps * size**0.5


class Attention(nn.Module):
    """One block of self-attention over the parts of an input, and a linear layer."""

    def __init__(self, features: int, width: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x)
        z = self.norm(z + self.attention(z, z, z, need_weights=False)[0])
        return self.head(z.mean(dim=1))


def cases() -> list[Case]:
    """Networks of each kind that is derived in another way, one of them with n > m."""
    generator = torch.Generator().manual_seed(0)

    def labelled(samples: int, shape: tuple[int, ...], classes: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(samples, *shape, generator=generator)
        return x, torch.randint(classes, (samples,), generator=generator)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh())
        wide.append(nn.Linear(16, 3))
        tall = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
        convolutional = nn.Sequential(
            *(nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
        )
        convolutional(torch.randn(64, 2, 8, 8))  # running statistics
        attention = Attention(5, 8, 3)
    return [
        Case("MLP, n < m", wide.eval(), labelled(24, (6,), 3), saturated=True),
        Case("MLP, n > m", tall.eval(), labelled(60, (3,), 3), saturated=False),
        Case("CNN, BatchNorm", convolutional.eval(), labelled(12, (2, 8, 8), 4), saturated=True),
        Case("attention", attention.eval(), labelled(12, (4, 5), 3), saturated=True),
    ]


def rows_of(pair: Beside, saturated: bool) -> Iterator[Row]:
    """Every route for one problem on both devices; some of them where it is saturated only.

    A route that raises is a row that fails, and the others go on.
    """
    dtypes = (torch.float64, torch.float32)
    routes: list[tuple[str, Callable[[], Iterator[Row]]]] = [
        ("exact_igs", partial(_exact, pair)),
        ("exact_igs, streamed", partial(_streamed, pair)),
        ("igs", partial(_chosen, pair)),
        *((f"operators, {short(dtype)}", partial(_products, pair, dtype)) for dtype in dtypes),
        ("operators, TF32", partial(_tf32_allowed_by_the_caller, pair)),
        *((f"EKFAC, {short(dtype)}", partial(_ekfac, pair, dtype)) for dtype in dtypes),
        *((f"eigenpairs, {of}", partial(_eigenvalues, pair, of)) for of in ("fisher", "hessian")),
    ]
    if saturated:
        routes += [
            ("certificate", partial(_certificate, pair)),
            *((f"krylov, {short(dtype)}", partial(_matrixfree, pair, dtype)) for dtype in dtypes),
            ("krylov, begun on the CPU", partial(_continued, pair)),
        ]
    for name, route in routes:
        yield from guarded(name, route)


def guarded(name: str, route: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows of a route; one that fails where it raises."""
    try:
        yield from route()
    except Exception as error:  # whatever a device may raise
        message = str(error).strip().splitlines() or [""]
        what = f"{name}: {type(error).__name__}: {message[0]}"
        yield Row(what, math.nan, math.nan, math.inf, 0.0)


def short(dtype: torch.dtype) -> str:
    """float64, float32."""
    return str(dtype).removeprefix("torch.")


def _exact(pair: Beside) -> Iterator[Row]:
    yield from _results(igsref.exact_igs(pair.cpu), igsref.exact_igs(pair.device))


def _streamed(pair: Beside) -> Iterator[Row]:
    """With a budget for a part of the columns, or of the rows, at a time."""
    n, m = pair.cpu.num_rows, pair.cpu.num_parameters
    memory = wide_bytes(n, m // 2) if n <= m else tall_bytes(m, m)
    one, other = (igsref.exact_igs(side, memory=memory) for side in (pair.cpu, pair.device))
    yield from _results(one, other)


def _chosen(pair: Beside) -> Iterator[Row]:
    one, other = igsref.igs(pair.cpu), igsref.igs(pair.device)
    for row in _results(one, other):
        yield replace(row, what=f"igs chose {row.what}")


def _results(one: igsref.Result, other: igsref.Result) -> Iterator[Row]:
    """Value, bracket and samples. Of the bracket's width each sample has a part."""
    method = one.method if one.method == other.method else f"{one.method} and {other.method}"
    widths = (one.upper - one.lower) + (other.upper - other.lower)
    allowed = widths + SLACK * one.value
    difference = abs(one.value - other.value) if one.method == other.method else math.inf
    yield Row(f"{method}: value", one.value, other.value, difference, allowed)
    apart = max(one.lower, other.lower) - min(one.upper, other.upper)
    yield Row(f"{method}: lower, not above any upper", one.lower, other.lower, max(0.0, apart), 0.0)
    samples = (one.per_sample, other.per_sample)
    worst = float((samples[0] - samples[1]).abs().max())
    largest = [float(part.max()) for part in samples]
    yield Row(f"{method}: largest sample", *largest, worst, one.num_samples * allowed)


def _products(pair: Beside, dtype: torch.dtype) -> Iterator[Row]:
    """A X and Aᵀ U beside those in float64 on the CPU, and the adjoint test."""
    exact, allowed = factor_operator(pair.cpu), pair.product_rounding(dtype)
    operators = [factor_operator(side, dtype=dtype) for side in (pair.cpu, pair.device)]
    name = short(dtype)
    x, u = _drawn(pair.cpu.num_parameters), _drawn(pair.cpu.num_rows)
    for what, method, vectors in (("A X", "forward", x), ("AᵀU", "adjoint", u)):
        true = getattr(exact, method)(vectors)
        ours, theirs = (getattr(op, method)(vectors.to(op.roots)).cpu() for op in operators)
        norms = float(ours.norm()), float(theirs.norm())
        off = float((theirs - true).norm() / true.norm())
        yield Row(f"‖{what}‖, {name}", *norms, off, allowed)
    errors = [adjoint_error(operator, seed=1) for operator in operators]
    yield Row(f"adjoint error, {name}", *errors, errors[1], allowed)


def _tf32_allowed_by_the_caller(pair: Beside) -> Iterator[Row]:
    """A X in float32 is that of float32 where TF32 is on for everything else."""
    x = _drawn(pair.cpu.num_parameters)
    with tf32_allowed():
        operator: FactorOperator = factor_operator(pair.device, dtype=torch.float32)
        found = operator.forward(x.to(operator.roots)).cpu()
    true = factor_operator(pair.cpu).forward(x)
    off = float((found - true).norm() / true.norm())
    norms = float(true.norm()), float(found.norm())
    yield Row("‖A X‖, float32 though TF32 is on", *norms, off, pair.product_rounding(torch.float32))


@contextmanager
def tf32_allowed() -> Iterator[None]:
    """What many programs set at their start, for matrix products; convolutions have it anyway."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _ekfac(pair: Beside, dtype: torch.dtype) -> Iterator[Row]:
    """Which rule each tensor has, ‖A_b‖_F² of all blocks, and one and the same T on both devices.

    The eigenbasis itself is not compared: where eigenvalues are close it is any of many.
    """
    name = short(dtype)
    one, other = ekfac(pair.cpu, dtype=dtype), ekfac(pair.device, dtype=dtype)
    differ = sum(one.rules[tensor] != other.rules[tensor] for tensor in one.rules)
    yield Row(f"EKFAC, {name}: tensors", len(one.rules), len(other.rules), differ, 0)
    sums = [[float(b.scalings.sum()) for b in found.blocks] for found in (one, other)]
    if not differ:
        worst = max(abs(a - b) / a if a else abs(b) for a, b in zip(*sums, strict=True))
        allowed = ROUNDINGS * torch.finfo(dtype).eps * pair.cpu.num_parameters
        yield Row(f"EKFAC, {name}: trace", sum(sums[0]), sum(sums[1]), worst, allowed)
    x = _drawn(pair.cpu.num_parameters)
    moved = _moved(one, pair.device.function.device)
    ours = one.power(x, -0.5, DAMPING)
    theirs = moved.power(x.to(pair.device.logits), -0.5, DAMPING).cpu()
    norms = float(ours.norm()), float(theirs.norm())
    off = float((theirs - ours).norm() / ours.norm())
    yield Row(f"EKFAC, {name}: ‖T X‖", *norms, off, pair.product_rounding(dtype))


def _moved(approximation: Ekfac, device: torch.device) -> Ekfac:
    """The same floats on a device."""

    def placed(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.to(device)

    blocks = [
        replace(
            block,
            entries=block.entries.to(device),
            scalings=block.scalings.to(device),
            input_basis=placed(block.input_basis),
            output_basis=placed(block.output_basis),
        )
        for block in approximation.blocks
    ]
    return replace(approximation, blocks=tuple(blocks))


def _eigenvalues(pair: Beside, of: str) -> Iterator[Row]:
    one, other = (igsref.top_eigenpairs(side, k=PAIRS, of=of) for side in (pair.cpu, pair.device))
    worst = float((one.eigenvalues - other.eigenvalues.cpu()).abs().max())
    largest = float(one.eigenvalues[0]), float(other.eigenvalues[0])
    known = float((one.residual_norms + other.residual_norms.cpu()).max())
    allowed = known + pair.product_rounding(torch.float64) * abs(largest[0])
    yield Row(f"{PAIRS} eigenvalues, {of}: λ_1", *largest, worst, allowed)


def _certificate(pair: Beside) -> Iterator[Row]:
    """Rank shown; all rows of what is saturated by far."""
    one, other = (saturation_certificate(side) for side in (pair.cpu, pair.device))
    difference = abs(one.rank_lower - other.rank_lower)
    yield Row("certificate: rank", one.rank_lower, other.rank_lower, difference, 0)


def _matrixfree(pair: Beside, dtype: torch.dtype) -> Iterator[Row]:
    tolerance = TOLERANCES[dtype]
    one, other = (
        igsref.matrixfree_igs(side, tolerance=tolerance, dtype=dtype)
        for side in (pair.cpu, pair.device)
    )
    name = short(dtype)
    yield _missed(f"krylov, {name}: value", one, other, tolerance)


def _missed(what: str, one: igsref.Result, other: igsref.Result, tolerance: float) -> Row:
    """Both are to reach the ceiling to a tolerance: so they differ by no more."""
    values = one.value, other.value
    worst = max(abs(values[0] - values[1]), one.upper - values[0], other.upper - values[1])
    return Row(what, *values, worst, (tolerance + SLACK) * one.upper)


def _continued(pair: Beside) -> Iterator[Row]:
    """A run that is stopped on the CPU after a step and goes on where the device is."""
    tolerance = TOLERANCES[torch.float64]
    settings = {"tolerance": tolerance, "dtype": torch.float64}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.safetensors"
        begun = igsref.matrixfree_igs(pair.cpu, checkpoint=file, max_iterations=1, **settings)
        found = igsref.matrixfree_igs(pair.device, checkpoint=file, **settings)
    ends = begun.upper, found.value
    allowed = (tolerance + SLACK) * begun.upper
    yield Row("krylov, begun on the CPU: ceiling, value", *ends, abs(ends[0] - ends[1]), allowed)
    taken = [step for step in begun.history if not step.verified]
    same = sum(a == b for a, b in zip(taken, found.history, strict=False))
    yield Row("krylov, begun on the CPU: steps", len(taken), same, len(taken) - same, 0)


def _drawn(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, COLUMNS, generator=generator, dtype=torch.float64)


def group_row(pair: Beside) -> Row:
    """A process group of one, nccl on CUDA and gloo else, beside no group.

    Raises RuntimeError where there is no such backend, or a group already.
    """
    backend = "nccl" if pair.device.function.device.type == "cuda" else "gloo"
    if not dist.is_available() or not dist.is_backend_available(backend):
        raise RuntimeError(f"this torch has no {backend}")
    if dist.is_initialized():
        raise RuntimeError("a process group is there already")
    settings = {"tolerance": TOLERANCES[torch.float64], "dtype": torch.float64}
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group(backend, init_method=meeting, rank=0, world_size=1)
        try:
            inside = igsref.matrixfree_igs(pair.device, group=dist.group.WORLD, **settings)
        finally:
            dist.destroy_process_group()
    alone = igsref.matrixfree_igs(pair.device, **settings)
    difference = abs(alone.value - inside.value)
    return Row(
        f"{backend}, one process", alone.value, inside.value, difference, SAME_SUMS * alone.value
    )
