"""Zero decided by a normal form: numerators of rational functions, expanded.

A rational function of free symbols is zero exactly if its expanded numerator is. Exponentials
and square roots enter as positive symbols of their own, with their relations substituted.
"""

from collections.abc import Iterable

import sympy

from verification.claims.claim import require

CLASSES = (2, 3, 4)
CASES = f"C = {', '.join(map(str, CLASSES))}"


def vanishes(expression: sympy.Expr) -> bool:
    """Whether a rational function of free symbols is identically zero."""
    # For polynomials the expansion decides, without the cost of a common denominator.
    return (
        sympy.expand(expression) == 0 or sympy.expand(sympy.numer(sympy.together(expression))) == 0
    )


def require_zero(expressions: Iterable[sympy.Expr], what: str) -> int:
    """Require each of the expressions to vanish identically; how many they were."""
    count = 0
    for count, expression in enumerate(expressions, start=1):
        require(vanishes(expression), f"{what}, entry {count}, vanishes: {expression}")
    require(count > 0, f"{what} has entries")
    return count


def simplex(classes: int) -> list[sympy.Expr]:
    """p_0, …, p_{C−1} with p_{C−1} = 1 − Σ of the others: C − 1 free symbols."""
    free = list(sympy.symbols(f"p:{classes - 1}", positive=True))
    return [*free, 1 - sum(free)]


def column(entries: Iterable[object]) -> sympy.Matrix:
    return sympy.Matrix(list(entries))


def unit(classes: int, index: int) -> sympy.Matrix:
    """e_index as a column."""
    return column(int(c == index) for c in range(classes))
