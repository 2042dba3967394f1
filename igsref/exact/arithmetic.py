"""Two kinds of numbers under one face: rationals, which are exact, and balls, which enclose.

Arrays are numpy arrays of objects, whose shapes numpy moves about; products of matrices are
python-flint's. A float is the dyadic rational that it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb, arb_mat, fmpq, fmpq_mat
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
"""Of objects: numbers of one kind of arithmetic."""


class Undecided(ArithmeticError):
    """The working precision leaves a comparison open: ask again with more bits."""


@dataclass(frozen=True)
class Arithmetic:
    """One kind of numbers.

    exact: whether sums, products and quotients are exact. number: of a float. matrix: the flint
    type that multiplies. is_positive: x > 0, decided.
    """

    exact: bool
    number: Callable[[float], Any]
    matrix: Callable[..., Any]
    is_positive: Callable[[Any], bool]

    def array(self, values: Tensor) -> Array:
        """The floats of a tensor, in its shape."""
        flat = np.empty(values.numel(), dtype=object)
        flat[:] = [self.number(value) for value in values.flatten().tolist()]
        return flat.reshape(values.shape)

    def zeros(self, *shape: int) -> Array:
        """Zeros."""
        return np.full(shape, self.number(0.0), dtype=object)

    def matmul(self, left: Array, right: Array) -> Array:
        """left · right of matrices (a, b) and (b, c)."""
        rows, inner = left.shape
        columns = right.shape[1]
        product = self.matrix(rows, inner, left.ravel().tolist()) * self.matrix(
            inner, columns, right.ravel().tolist()
        )
        out = np.empty(rows * columns, dtype=object)
        out[:] = product.entries()
        return out.reshape(rows, columns)


def rational(value: float) -> fmpq:
    """The dyadic rational that a float is.

    >>> rational(-0.375)
    -3/8
    """
    return fmpq(*value.as_integer_ratio())


def _ball_is_positive(x: arb) -> bool:
    if x.contains(0) and not x.is_exact():
        raise Undecided(f"the sign of {x.str(5)} is open")
    return bool(x > 0)


RATIONALS = Arithmetic(True, rational, fmpq_mat, lambda x: bool(x > 0))
BALLS = Arithmetic(False, arb, arb_mat, _ball_is_positive)
"""At the precision of ``flint.ctx`` when an operation runs."""
