"""Orthogonal factorisations: triangles, pivoted bases, graded rows; and what triangles tell."""

import scipy.linalg
import torch
from jaxtyping import Float64, Int64
from threadpoolctl import ThreadpoolController
from torch import Tensor

_SMALL = 1500
"""Columns up to which one thread is fastest: geqp3 meets at a barrier in every column, and on a
busy machine waits there."""
_BLAS = ThreadpoolController()


def lower_triangle(matrix: Float64[Tensor, "n m"]) -> Float64[Tensor, "n n"]:
    """L of matrix = L Qᵀ for n ≤ m: the same range from n² numbers.

    Householder QR of the transpose. Its backward error is relative to each *row* of the matrix
    (Higham, Accuracy and Stability of Numerical Algorithms, Theorem 19.4), so rows may differ in
    size by any factor.
    """
    return torch.linalg.qr(matrix.mT, mode="r").R.mT


def append_columns(
    triangle: Float64[Tensor, "n n"] | None, block: Float64[Tensor, "n k"]
) -> Float64[Tensor, "n n"]:
    """L with L Lᵀ = triangle·triangleᵀ + block·blockᵀ, as of the two side by side.

    One step of a sequential QR of the transpose (Demmel, Grigori, Hoemmen, Langou,
    "Communication-optimal parallel and sequential QR and LU factorizations", 2012): n² numbers
    stand for all columns so far. Without a triangle, one of the block alone.
    """
    beside = block if triangle is None else torch.cat([triangle, block], dim=1)
    missing = beside.shape[0] - beside.shape[1]
    if missing > 0:
        beside = torch.cat([beside, beside.new_zeros(len(beside), missing)], dim=1)
    return lower_triangle(beside)


def pivoted_qr(
    matrix: Float64[Tensor, "n k"],
) -> tuple[Float64[Tensor, "n p"], Float64[Tensor, "p k"], Int64[Tensor, " k"]]:
    """Q, R and Π of matrix·Π = Q R, p = min(n, k), columns pivoted: best-known direction first.

    |R_kk| falls and stays close to the singular values (Chan, "Rank revealing QR
    factorizations", 1987, and its practice). A tall matrix is first brought to its triangle.
    """
    if matrix.shape[0] <= matrix.shape[1]:
        return _geqp3(matrix)
    orthonormal, triangle = torch.linalg.qr(matrix)
    inner, pivoted, pivots = _geqp3(triangle)
    return orthonormal @ inner, pivoted, pivots


def graded_qr(
    matrix: Float64[Tensor, "n r"],
) -> tuple[Float64[Tensor, "n r"], Float64[Tensor, "r r"], Int64[Tensor, " r"]]:
    """Q, R and Π of matrix·Π = Q R, for rows that differ in size by many orders of magnitude.

    Rows in falling order of size and pivoted columns make the backward error of Householder QR
    relative to each row (Cox & Higham, "Stability of Householder QR factorization for weighted
    least squares problems", 1998).
    """
    if matrix.shape[1] == 0:
        return matrix, matrix.new_empty(0, 0), torch.empty(0, dtype=torch.int64).to(matrix.device)
    order = matrix.abs().amax(dim=1).argsort(descending=True, stable=True)
    sorted_basis, triangle, pivots = _geqp3(matrix[order])
    basis = torch.empty_like(matrix)
    basis[order] = sorted_basis
    return basis, triangle, pivots


def _geqp3(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """LAPACK's geqp3, which torch does not have, on the CPU."""
    few = 1 if matrix.shape[1] <= _SMALL else None
    with _BLAS.limit(limits=few, user_api="blas"):
        orthonormal, triangle, pivots = scipy.linalg.qr(
            matrix.cpu().numpy(), mode="economic", pivoting=True, check_finite=False
        )
    return (
        torch.from_numpy(orthonormal).to(matrix),
        torch.from_numpy(triangle).to(matrix),
        torch.from_numpy(pivots).long().to(matrix.device),
    )


def full_rank_margin(triangle: Float64[Tensor, "n n"], error: float) -> float:
    """A lower bound on σ_min/error of a lower triangle: above 1, its full rank is shown.

    1/(‖L⁻¹‖_F·error), since ‖L⁻¹‖_F ≥ 1/σ_min; 0, without inverting anything, where some
    |L_kk| ≥ σ_min does not exceed the error.
    """
    if error <= 0 or bool((triangle.diagonal().abs() <= error).any()):
        return 0.0
    norm = float(invert_triangle(triangle, upper=False).norm())
    return 1 / (norm * error) if norm == norm else 0.0


def invert_triangle(triangle: Float64[Tensor, "n n"], *, upper: bool) -> Float64[Tensor, "n n"]:
    """T⁻¹; LAPACK's trtri where torch has none (CPU): a third of the work of solving for I."""
    if len(triangle) == 0:
        return triangle
    if triangle.device.type == "cpu":
        inverse, _ = scipy.linalg.lapack.dtrtri(triangle.numpy(), lower=not upper)
        return torch.from_numpy(inverse)
    unit = torch.eye(len(triangle), dtype=triangle.dtype, device=triangle.device)
    return torch.linalg.solve_triangular(triangle, unit, upper=upper)
