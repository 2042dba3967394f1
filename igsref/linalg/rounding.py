"""What rounding can do to sums and products, whatever their order: Higham's γ_n.

For a sum of n products in any order, with or without fused operations, |computed − exact| ≤
γ_n Σ|a||b|, γ_n = n u/(1 − n u), u = 2⁻⁵³ (Higham, Accuracy and Stability of Numerical Algorithms,
section 3.1). Underflow is left out: it is no matter where rows and columns are scaled to 1.
"""

import math

from jaxtyping import Float64
from torch import Tensor

UNIT = 2.0**-53


def gamma(count: int) -> float:
    """γ_n = n u/(1 − n u).

    >>> gamma(1) == 2.0**-53 / (1 - 2.0**-53)
    True
    """
    return count * UNIT / (1 - count * UNIT)


def product_rounding(inner: int) -> float:
    """γ with |computed − exact| ≤ γ |left||right| for ``measured_product`` of inner size k."""
    size = _block(inner)
    return gamma(min(size, inner) + -(-inner // size) + 1)


def measured_product(
    left: Float64[Tensor, "n k"], right: Float64[Tensor, "k q"]
) -> Float64[Tensor, "n q"]:
    """left·right, summed over blocks of 64 or √k columns one after another.

    So an entry goes through 64 + k/64 or 2√k roundings at most, where one sum may go through k.
    Each block's product is whole before it is added: BLAS, asked to add it, starts its running
    sums from what is there, and goes through k after all.
    """
    size = _block(left.shape[1])
    product = left.new_zeros(left.shape[0], right.shape[1])
    for start in range(0, left.shape[1], size):
        product += left[:, start : start + size] @ right[start : start + size]
    return product


def _block(inner: int) -> int:
    return max(64, math.isqrt(inner))


class Gram:
    """QᵀQ of a basis whose rows come some at a time."""

    def __init__(self, columns: int, like: Tensor) -> None:
        self._sum = like.new_zeros(columns, columns)
        self._size = self._rounding = 0.0
        self._rows = 0

    def add(self, basis: Float64[Tensor, "rows r"]) -> None:
        """Further rows of Q."""
        self._sum += measured_product(basis.mT, basis)
        self._size += float(basis.square().sum())
        self._rounding += product_rounding(len(basis)) + gamma(2)
        self._rows += len(basis)

    def skew(self) -> float:
        """A bound on ‖QᵀQ − I‖_F."""
        off = self._sum.clone()
        off.diagonal().sub_(1.0)
        grown = 1 + gamma(8 * self._rows + 8 * len(off) ** 2)
        return (float(off.norm()) + self._rounding * self._size) * grown
