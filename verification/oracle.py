"""An independent oracle for IGS in ball arithmetic, for small multi-layer perceptrons.

    IGS(θ) = (1/N) Σ_i g_i F⁺ g_iᵀ,   F = (1/N) Σ_i J_iᵀ Λ_i J_i,   Λ_i = diag(p_i) − p_i p_iᵀ

Jang et al., NeurIPS 2022, equations (2) and (6). Every float is taken as the dyadic rational
that it is; loops are naive, and nothing is shared with the library or with a tensor package.
Each number is a ball that encloses the exact one, given the rank; the rank is where pivots fall
from above 2^(−bits/3) to below 2^(−bits/2), and a pivot in between is an error, never a guess.
That rank ≥ `Truth.rank` is proven; equality is what the gap says.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flint import arb, arb_mat, ctx

from verification.perceptron import (
    Labels,
    Layers,
    Matrix,
    OracleError,
    Rows,
    Sample,
    Vector,
    dot,
    exact_layers,
    forward,
    jacobian,
    labelled_samples,
    softmax,
)

REQUIRED_DIGITS = 50
DIGITS_PER_BIT = 0.30102


@dataclass(frozen=True)
class Truth:
    """IGS of one network and what surrounds it; every arb is a ball around the exact number.

    value: IGS. per_sample: g_i F⁺ g_iᵀ, with mean `value`. full_batch: G = ḡ F⁺ ḡᵀ.
    ceiling: Σ_i Σ_{c≠y} exp(f_c − f_y) ≥ value. rank: of F.
    min_label_probability: min_i p_{i,y_i}.
    smallest_accepted, largest_rejected: pivots at the rank decision, after a scaling of the
    parameters that puts every nonzero F_jj into [1, 4); 1 and 0 where there are none.
    digits: decimal digits of `value` that its ball proves.
    """

    value: arb
    per_sample: tuple[arb, ...]
    full_batch: arb
    ceiling: arb
    rank: int
    min_label_probability: arb
    smallest_accepted: arb
    largest_rejected: arb
    digits: int


@dataclass(frozen=True)
class Range:
    """A whitened view of the range of F: g F⁺ hᵀ = ⟨z_g, z_h⟩, z ∈ R^rank."""

    whitened: Matrix
    smallest_accepted: arb
    largest_rejected: arb

    @property
    def rank(self) -> int:
        """Number of accepted pivots."""
        return len(self.whitened[0])


def truth(
    layers: Layers, activation: str, inputs: Rows, labels: Labels, *, bits: int = 1200
) -> Truth:
    """IGS by its definition: form F, eliminate it with diagonal pivoting, solve F x = g_i.

    layers: (weight, bias or None) per linear layer, weight as d_out rows of d_in floats.
    activation: "relu", "leaky_relu" (slope 0.01), "tanh" or "gelu" (erf), between the layers.
    inputs: N rows of d_0 floats; labels: N classes in 0..C−1; bits: working precision.
    Raises OracleError if the rank is ambiguous or fewer than 50 digits are proven, ValueError
    for arguments that describe no network.
    """
    with ctx.workprec(bits):
        samples = labelled_samples(layers, activation, inputs, labels)
        gradients = [label_gradient(sample) for sample in samples]
        return _truth(samples, solve(fisher_matrix(samples), gradients, bits=bits), bits=bits)


def projected_truth(
    layers: Layers, activation: str, inputs: Rows, labels: Labels, *, bits: int = 2400
) -> Truth:
    """IGS as Σ_i h_{i,y_i}/p_{i,y_i}, h the diagonal of the projector onto range(A).

    A ∈ R^{NC×m} is the textbook factor, rows √p_c (J_c − Σ_k p_k J_k), and its range is found by
    modified Gram–Schmidt with column pivoting: no F and no solve. Arguments as in `truth`; balls
    grow faster here, hence the larger precision.
    """
    with ctx.workprec(bits):
        samples = labelled_samples(layers, activation, inputs, labels)
        factor = [row for sample in samples for row in factor_rows(sample)]
        basis, accepted, rejected = orthonormal_range(factor, bits=bits)
        whitened = _whitened_by_projection(samples, basis)
        return _truth(samples, Range(whitened, accepted, rejected), bits=bits)


def minibatch_brute_force(
    layers: Layers,
    activation: str,
    inputs: Rows,
    labels: Labels,
    batches: Iterable[Sequence[int]],
    *,
    bits: int = 1200,
) -> arb:
    """IGS_b = E_B[ḡ_B F⁺ ḡ_Bᵀ], equation (7), the mean over the listed batches of indices.

    batches: all batches of one size, from `batches_with_replacement` or
    `batches_without_replacement`; F x = ḡ_B is solved for each of them.
    """
    with ctx.workprec(bits):
        samples = labelled_samples(layers, activation, inputs, labels)
        gradients = [label_gradient(sample) for sample in samples]
        means = [_mean_row([gradients[i] for i in batch]) for batch in batches]
        if not means:
            raise ValueError("batches must list at least one batch; got none")
        solved = solve(fisher_matrix(samples), means, bits=bits)
        return sum((dot(z, z) for z in solved.whitened), arb(0)) / len(means)


def batches_with_replacement(count: int, size: int) -> Iterator[tuple[int, ...]]:
    """The count^size batches of independent draws, all equally likely."""
    return itertools.product(range(count), repeat=size)


def batches_without_replacement(count: int, size: int) -> Iterator[tuple[int, ...]]:
    """The (count choose size) subsets, all equally likely."""
    return itertools.combinations(range(count), size)


def class_probabilities(
    layers: Layers, activation: str, inputs: Rows, *, bits: int = 1200
) -> Matrix:
    """Softmax of the logits of each input, N rows of C balls."""
    with ctx.workprec(bits):
        exact = exact_layers(layers)
        return [softmax(forward(exact, activation, row)[0]) for row in inputs]


def logits_and_jacobian(
    layers: Layers, activation: str, row: Sequence[float], *, bits: int = 1200
) -> tuple[Vector, Matrix]:
    """f(x) ∈ R^C and J = ∂f/∂θ ∈ R^{C×m}; θ holds W row by row and then b, layer by layer."""
    with ctx.workprec(bits):
        exact = exact_layers(layers)
        logits, units, slopes = forward(exact, activation, row)
        return logits, jacobian(exact, units, slopes)


def to_float(number: arb) -> float:
    """The float64 nearest to the midpoint of a ball (0.0 where it underflows)."""
    return float(number.mid())


def to_decimal(number: arb, digits: int = REQUIRED_DIGITS) -> str:
    """The midpoint of a ball in decimal, as many digits as the ball proves and at most `digits`.

    >>> to_decimal(arb(1) / 8, digits=5)
    '0.12500'
    """
    return number.str(digits, radius=False)


# The Fisher matrix, the gradients and the factor.


def fisher_matrix(samples: Sequence[Sample]) -> Matrix:
    """F = (1/N) Σ_i J_iᵀ Λ_i J_i ∈ R^{m×m}, equation (2), as one product of two stacks."""
    stack = [row for sample in samples for row in sample.jacobian]
    weighted = [row for sample in samples for row in _output_metric_times_jacobian(sample)]
    return (arb_mat(stack).transpose() * arb_mat(weighted) / len(samples)).tolist()


def _output_metric_times_jacobian(sample: Sample) -> Matrix:
    """Λ J with Λ = diag(p) − p pᵀ, written out."""
    p = sample.probabilities
    metric = [
        [(p_c if c == k else arb(0)) - p_c * p_k for k, p_k in enumerate(p)]
        for c, p_c in enumerate(p)
    ]
    return (arb_mat(metric) * arb_mat(sample.jacobian)).tolist()


def label_gradient(sample: Sample) -> Vector:
    """g = (p − e_y)ᵀ J ∈ R^m."""
    residual = [p - int(c == sample.label) for c, p in enumerate(sample.probabilities)]
    return [dot(residual, column) for column in zip(*sample.jacobian, strict=True)]


def factor_rows(sample: Sample) -> Matrix:
    """M J ∈ R^{C×m}, rows √p_c (J_c − Σ_k p_k J_k), equation (4)."""
    p = sample.probabilities
    mean = [dot(p, column) for column in zip(*sample.jacobian, strict=True)]
    return [
        [root * (entry - mu) for entry, mu in zip(row, mean, strict=True)]
        for root, row in zip((p_c.sqrt() for p_c in p), sample.jacobian, strict=True)
    ]


# First way: elimination of F, bordered by the gradients.


def solve(fisher: Matrix, gradients: Matrix, *, bits: int) -> Range:
    """Whiten gradients: g F⁺ hᵀ = ⟨z_g, z_h⟩ with z = D^{−1/2} L⁻¹ g on the pivots of F.

    For g in range F, x = (F_PP)⁻¹ g_P on the pivots P solves F x = g, and g F⁺ gᵀ = g x. This is
    pivoted Cholesky of F bordered by the gradients; what is left of a gradient outside the pivots
    must vanish, which is checked.
    """
    scales = [_power_of_two_scale(fisher[j][j]) for j in range(len(fisher))]
    scaled = [_scaled([s * f for f in row], scales) for s, row in zip(scales, fisher, strict=True)]
    borders = [_scaled(gradient, scales) for gradient in gradients]
    factor, pivots, accepted, rejected = _bordered_cholesky(scaled, borders, bits=bits)
    _check_range(factor, borders, pivots, bits=bits)
    return Range(factor[len(fisher) :], accepted, rejected)


def _bordered_cholesky(
    fisher: Matrix, borders: Matrix, *, bits: int
) -> tuple[Matrix, list[int], arb, arb]:
    """L ∈ R^{(m+n)×r} with F = L_F L_Fᵀ and G = L_G L_Fᵀ; the pivots; the two pivots at the gap."""
    rows = fisher + borders
    factor: Matrix = [[] for _ in rows]
    remaining = {j: fisher[j][j] for j in range(len(fisher))}
    pivots, accepted = [], arb(1)
    while remaining:
        pivot = max(remaining, key=lambda j: remaining[j].mid())
        if not _is_accepted(remaining[pivot], bits):
            break
        accepted = accepted.min(remaining.pop(pivot))
        _append_column(factor, rows, pivot)
        pivots.append(pivot)
        for j in remaining:
            remaining[j] -= factor[j][-1] * factor[j][-1]
    return factor, pivots, accepted, _largest_rejected(remaining.values(), bits)


def _append_column(factor: Matrix, rows: Matrix, pivot: int) -> None:
    """The next column of L: (row_pivot − Σ_l L_l L_{pivot,l}) / √d."""
    known = list(factor[pivot])
    root = (rows[pivot][pivot] - dot(known, known)).sqrt()
    for coordinates, row in zip(factor, rows, strict=True):
        coordinates.append((row[pivot] - dot(coordinates, known)) / root)


def _check_range(factor: Matrix, borders: Matrix, pivots: list[int], *, bits: int) -> None:
    """Raise unless G = L_G L_Fᵀ also outside the pivots: every gradient lies in range F."""
    columns = range(len(factor) - len(borders))
    free = [factor[j] for j in columns if j not in set(pivots)]
    rest = [[border[j] for j in columns if j not in set(pivots)] for border in borders]
    for z, row in zip(factor[len(columns) :], rest, strict=True):
        for known, entry in zip(free, row, strict=True):
            if not _is_rejected(entry - dot(z, known), bits):
                raise OracleError(f"a gradient leaves range F at {bits} bits; raise bits")


# Second way: Gram–Schmidt on the columns of the factor.


def orthonormal_range(factor: Matrix, *, bits: int) -> tuple[Matrix, arb, arb]:
    """An orthonormal basis Q of range(A), as r columns, and the two pivots ‖column‖² at the gap."""
    columns = _equilibrated([list(column) for column in zip(*factor, strict=True)])
    basis, accepted = [], arb(1)
    while columns:
        norms = [dot(column, column) for column in columns]
        pivot = max(range(len(columns)), key=lambda j: norms[j].mid())
        if not _is_accepted(norms[pivot], bits):
            return basis, accepted, _largest_rejected(norms, bits)
        accepted = accepted.min(norms[pivot])
        basis.append([x / norms[pivot].sqrt() for x in columns.pop(pivot)])
        columns = [_without_component(column, basis[-1]) for column in columns]
    return basis, accepted, arb(0)


def _equilibrated(columns: Matrix) -> Matrix:
    scales = [_power_of_two_scale(dot(column, column)) for column in columns]
    return [[s * x for x in column] for s, column in zip(scales, columns, strict=True)]


def _without_component(column: Vector, direction: Vector) -> Vector:
    along = dot(column, direction)
    return [x - along * q for x, q in zip(column, direction, strict=True)]


def _whitened_by_projection(samples: Sequence[Sample], basis: Matrix) -> Matrix:
    """z_i = −√N Q_{(i,y)} / √p_{i,y}: the whitened gradients, from rows of Q."""
    classes = len(samples[0].logits)
    whitened = []
    for i, sample in enumerate(samples):
        factor = -(len(samples) / sample.probabilities[sample.label]).sqrt()
        whitened.append([factor * column[i * classes + sample.label] for column in basis])
    return whitened


# Rank decision and the answer.


def _power_of_two_scale(square: arb) -> arb:
    """s = 2^k with s² square in [1, 4); 1 where the square may be zero: noise is not a scale."""
    if not square > 0:
        return arb(1)
    mantissa, exponent = square.mid().man_exp()
    return arb((1, -((int(mantissa).bit_length() - 1 + int(exponent)) // 2)))


def _is_accepted(pivot: arb, bits: int) -> bool:
    return bool(pivot > arb((1, -(bits // 3))))


def _is_rejected(entry: arb, bits: int) -> bool:
    return bool(entry.abs_upper() < arb((1, -(bits // 2))))


def _largest_rejected(pivots: Iterable[arb], bits: int) -> arb:
    """The largest pivot in magnitude that the rank leaves out; raise if it is not negligible."""
    largest = arb(0)
    for pivot in pivots:
        if not _is_rejected(pivot, bits):
            raise OracleError(f"the pivot {pivot.str(5)} leaves the rank open; raise bits ({bits})")
        largest = largest.max(pivot.abs_upper())
    return largest


def _truth(samples: Sequence[Sample], solved: Range, *, bits: int) -> Truth:
    per_sample = tuple(dot(z, z) for z in solved.whitened)
    value = sum(per_sample, arb(0)) / len(samples)
    mean = _mean_row(solved.whitened)
    return Truth(
        value=value,
        per_sample=per_sample,
        full_batch=dot(mean, mean),
        ceiling=sum((_ceiling_term(sample) for sample in samples), arb(0)),
        rank=solved.rank,
        min_label_probability=_least(s.probabilities[s.label] for s in samples),
        smallest_accepted=solved.smallest_accepted,
        largest_rejected=solved.largest_rejected,
        digits=_proven_digits(value, bits),
    )


def _ceiling_term(sample: Sample) -> arb:
    """Σ_{c≠y} exp(f_c − f_y) = (1 − p_y)/p_y."""
    f, y = sample.logits, sample.label
    return sum(((f_c - f[y]).exp() for c, f_c in enumerate(f) if c != y), arb(0))


def _proven_digits(value: arb, bits: int) -> int:
    digits = int(DIGITS_PER_BIT * min(value.rel_accuracy_bits(), bits))
    if digits < REQUIRED_DIGITS:
        raise OracleError(f"{digits} digits proven at {bits} bits, {REQUIRED_DIGITS} required")
    return digits


def _least(numbers: Iterable[arb]) -> arb:
    least, *others = numbers
    for number in others:
        least = least.min(number)
    return least


def _scaled(row: Vector, scales: Vector) -> Vector:
    return [s * x for s, x in zip(scales, row, strict=True)]


def _mean_row(rows: Sequence[Vector]) -> Vector:
    return [sum(column, arb(0)) / len(rows) for column in zip(*rows, strict=True)]
