"""The true IGS of a ReLU perceptron, with nothing of the library and no float arithmetic."""

from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np

from benchmarks.perceptrons import Network

MOST_DIGITS = 16.0


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
