"""Certificates: the range held against errors of rows and logits that are proven or estimated.

Proven errors exist for sequential networks (:mod:`igsref.jacobian.running`). A tall factor is
assessed as it stands. A wide one is first compressed to n × r numbers, whose error is known: no
orthogonal factorisation of it has one that is proven.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.factor import scaled_root
from igsref.geometry.geometry import Certificate
from igsref.jacobian.columns import restricted
from igsref.jacobian.rounding import estimate_logit_error
from igsref.jacobian.rows import chunk_size, jacobian_rows
from igsref.jacobian.running import logit_error, row_error, unsupported
from igsref.linalg.assess import assess, is_nonsingular
from igsref.linalg.equilibrate import Scales
from igsref.linalg.orthogonal import invert_triangle
from igsref.linalg.range import Subspace, find_range
from igsref.linalg.rounding import gamma, measured_product, product_rounding
from igsref.problem import Problem
from igsref.progress import interruptible

Ranges = Sequence[tuple[int, int]]
_ERROR_TEMPORARIES = 6


def estimated_certificate(
    problem: Problem, space: Subspace | None, error: Float64[Tensor, " rows"]
) -> Certificate:
    """Of a space known to an estimate: the whole one (None), or a subspace."""
    found = space if space is not None and space.dimension else None
    return Certificate(
        full=space is None,
        assessment=None if found is None else assess(found, error),
        logit_error=estimate_logit_error(problem),
        grade="estimated",
    )


def verified_certificate(
    problem: Problem, space: Subspace, error: Float64[Tensor, " rows"]
) -> Certificate:
    """Of a subspace of the scaled D itself, whose rows have proven errors."""
    assessment = assess(space, error) if space.dimension else None
    return Certificate(False, assessment, logit_error(problem), "verified")


def verified_wide(
    problem: Problem,
    ranges: Ranges,
    scales: Scales,
    triangle: Float64[Tensor, "rows rows"],
    space: Subspace | None,
    cut: float,
) -> Certificate:
    """Of a wide factor, from a second pass over its columns.

    triangle: L of the scaled D ≈ L Wᵀ. space: found from L, cut there; None for the whole.
    """
    if space is None:
        inverse = invert_triangle(triangle, upper=False)
        known = compressed(problem, ranges, scales, inverse.mT.contiguous())
        if is_nonsingular(known.matrix, known.row_error, inverse):
            return Certificate(True, None, logit_error(problem), "verified")
    elif space.dimension == 0:
        return Certificate(False, None, logit_error(problem), "verified")
    else:
        known = compressed(problem, ranges, scales, _coefficients(triangle, space))
    found, _ = find_range(known.matrix, scaled_root(problem, scales.rows), cut)
    return verified_certificate(problem, found, known.row_error)


def is_verifiable(problem: Problem) -> bool:
    """Whether errors of logits and rows can be proven: by sums of products, as a CPU makes them."""
    return problem.logits.device.type == "cpu" and unsupported(problem) is None


def _coefficients(triangle: Tensor, space: Subspace) -> Float64[Tensor, "rows r"]:
    """C for which Dᵀ C has nearly orthonormal columns that span the row space of UᵀD.

    UᵀD ≈ (UᵀL) Wᵀ, and (UᵀL)ᵀ = Q R: so DᵀU R⁻¹ ≈ W Q.
    """
    (rows,) = space.parts()
    factor = torch.linalg.qr((rows.inner.mT @ triangle).mT, mode="r").R
    return torch.linalg.solve_triangular(factor, rows.inner, upper=True, left=False)


@dataclass(frozen=True, eq=False)
class Compressed:
    """D V for some V, to rounding: range(D V) ⊂ range(D). |error_j x| ≤ row_error_j ‖x‖."""

    matrix: Float64[Tensor, "rows r"]
    row_error: Float64[Tensor, " rows"]


def compressed(
    problem: Problem, ranges: Ranges, scales: Scales, coefficients: Float64[Tensor, "rows r"]
) -> Compressed:
    """D V for V = Dᵀ·coefficients, D scaled, a range of columns at a time.

    The error of a row of D V, times x: that of D through ‖V‖₂, and γ ‖D_j‖ ‖V‖_F for the product.
    """
    rows, rank = coefficients.shape
    product, gram = coefficients.new_zeros(rows, rank), coefficients.new_zeros(rank, rank)
    size = coefficients.new_zeros(rows)
    contrast = problem.likelihood.contrast(problem.logits)
    reached = "the range is known, its certificate is not"
    with interruptible("blocks of columns", len(ranges), reached) as blocks:
        for start, stop in blocks(ranges):
            part, columns = restricted(problem, start, stop)
            scale = scales.columns[start:stop]
            block = jacobian_rows(part, contrast, columns=columns)
            block *= scale
            block *= scales.rows[:, None]
            mixed = block.mT @ coefficients
            product += measured_product(block, mixed)
            gram += mixed.mT @ mixed
            size += block.norm(dim=1).square()
    grown = 1 + gamma(8 * problem.num_parameters)
    rounding = product_rounding(max(b - a for a, b in ranges)) + gamma(len(ranges) + 2)
    total = float(gram.diagonal().sum()) ** 0.5
    off = gamma(2 * problem.num_parameters) * total**2  # rounding of the Gram matrix
    spread = (float(gram.abs().sum(dim=1).max()) + off) ** 0.5
    row_error = proven_row_error(problem, scales) * spread + rounding * total * size.sqrt()
    return Compressed(product, row_error * grown)


def proven_row_error(problem: Problem, scales: Scales) -> Float64[Tensor, " rows"]:
    """A bound on the norm of the error of each row of the scaled D, a tensor at a time."""
    contrast = problem.likelihood.contrast(problem.logits)
    squares = torch.zeros_like(scales.rows)
    start = 0
    tensors = [tensor for tensor in problem.function.parameters.values() if tensor.numel() > 0]
    reached = "the range is known, its certificate is not"
    with interruptible("tensors, errors of the rows", len(tensors), reached) as shown:
        for tensor in shown(tensors):
            stop = start + tensor.numel()
            part, _ = restricted(problem, start, stop)
            squares += _squared_error(part, contrast, scales.columns[start:stop])
            start = stop
    return squares.sqrt() * scales.rows * (1 + gamma(8 * problem.num_parameters))


def _squared_error(
    problem: Problem, contrast: Tensor, scale: Float64[Tensor, " columns"]
) -> Float64[Tensor, " rows"]:
    """Σ (E_jp scale_p)² of every row, some samples and rows of a sample at a time."""
    samples, height, _ = contrast.shape
    out = contrast.new_empty(samples, height)
    at_once = min(height, chunk_size(8 * _ERROR_TEMPORARIES * len(scale)))
    size = chunk_size(8 * _ERROR_TEMPORARIES * at_once * len(scale))
    for chosen in torch.arange(samples).split(size):
        for row in range(0, height, at_once):
            rows = contrast[:, row : row + at_once]
            error = row_error(problem, rows, samples=chosen) * scale
            out[chosen, row : row + at_once] = (
                error.norm(dim=1).square().view(len(chosen), rows.shape[1])
            )
    return out.flatten()
