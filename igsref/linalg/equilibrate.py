"""Scaling of rows and columns by powers of two: free, and exact.

Scaling a column of the factor is a reparametrisation, so no invariant measure sees it; scaling
a row of the class differences changes no rank. Powers of two round nothing.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor


def power_of_two_scale(norms: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """2^k with ½ ≤ 2^k·norm < 1 for each norm; 1 where the norm is 0.

    >>> power_of_two_scale(torch.tensor([0.0, 1.0, 3.0, 2.0**-60]).double()).log2().tolist()
    [0.0, -1.0, -2.0, 59.0]
    """
    _, exponent = torch.frexp(norms)
    return torch.ldexp(torch.ones_like(norms), torch.where(norms > 0, -exponent, 0))


_SQUARES_VANISH = 2.0**-500


class Scales(NamedTuple):
    """matrix = diag(rows) · original · diag(columns), all of them powers of two."""

    rows: Float64[Tensor, " rows"]
    columns: Float64[Tensor, " columns"]


def equilibrate_(matrix: Float64[Tensor, "rows columns"]) -> Scales:
    """Scale columns and rows in place until both have norms near 1.

    First columns to a largest entry near 1, whose squares neither overflow nor vanish; then two
    rounds of columns and rows, so that the rows come out with ½ ≤ norm < 1 (or 0).
    """
    rows = torch.ones_like(matrix[:, 0])
    columns = _scale_(matrix, power_of_two_scale(_peak(matrix)))
    for _ in range(2):
        columns *= _scale_(matrix, power_of_two_scale(torch.linalg.vector_norm(matrix, dim=0)))
        rows *= equilibrate_rows_(matrix)
    return Scales(rows, columns)


def equilibrate_columns_(matrix: Float64[Tensor, "rows columns"]) -> Float64[Tensor, " columns"]:
    """Scale columns in place to a largest entry near 1, then to a norm near 1; by what."""
    columns = _scale_(matrix, power_of_two_scale(_peak(matrix)))
    return columns * _scale_(matrix, power_of_two_scale(torch.linalg.vector_norm(matrix, dim=0)))


def equilibrate_rows_(matrix: Float64[Tensor, "rows columns"]) -> Float64[Tensor, " rows"]:
    """Scale rows in place to ½ ≤ norm < 1, or 0; by what.

    Rows whose squares would vanish are first brought to a largest entry near 1.
    """
    norms = torch.linalg.vector_norm(matrix, dim=1)
    rows = torch.ones_like(norms)
    if bool((norms < _SQUARES_VANISH).any()):
        peaks = torch.linalg.vector_norm(matrix, ord=torch.inf, dim=1)
        rows = power_of_two_scale(peaks)
        matrix *= rows[:, None]
        norms = torch.linalg.vector_norm(matrix, dim=1)
    step = power_of_two_scale(norms)
    matrix *= step[:, None]
    return rows * step


def _peak(matrix: Tensor) -> Float64[Tensor, " columns"]:
    return torch.linalg.vector_norm(matrix, ord=torch.inf, dim=0)


def _scale_(matrix: Tensor, columns: Tensor) -> Float64[Tensor, " columns"]:
    matrix *= columns
    return columns
