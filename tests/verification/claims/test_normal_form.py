"""Normal forms decide zero, and only zero."""

import pytest
import sympy

from verification.claims import Disproved
from verification.claims.normal_form import require_zero, simplex, unit, vanishes

X, Y = sympy.symbols("x y", positive=True)


@pytest.mark.parametrize(
    "expression",
    [
        sympy.Integer(0),
        (X + Y) ** 2 - X**2 - 2 * X * Y - Y**2,
        1 / X - 1 / Y - (Y - X) / (X * Y),
        X / (X + Y) + Y / (X + Y) - 1,
    ],
)
def test_zero_is_recognised(expression: sympy.Expr) -> None:
    assert vanishes(expression)


@pytest.mark.parametrize("expression", [X, X / (X + Y) - 1, 1 / X - 1 / Y, X**2 - Y**2])
def test_other_functions_are_not(expression: sympy.Expr) -> None:
    assert not vanishes(expression)


def test_entries_are_counted_and_named() -> None:
    assert require_zero(sympy.zeros(2, 3), "nothing") == 6
    with pytest.raises(Disproved, match="this, entry 2"):
        require_zero([sympy.Integer(0), X], "this")


def test_nothing_to_check_proves_nothing() -> None:
    with pytest.raises(Disproved, match="has entries"):
        require_zero([], "nothing")


def test_simplex_sums_to_one() -> None:
    assert sympy.expand(sum(simplex(4))) == 1
    assert len(sum(simplex(4)[:3]).free_symbols) == 3


def test_unit_vectors() -> None:
    assert list(unit(3, 1)) == [0, 1, 0]
