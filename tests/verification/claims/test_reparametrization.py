"""The bijection of the check has the inverse that is claimed, at numbers."""

import sympy

from verification.claims.reparametrization import triangular_inverse, triangular_map


def test_inverse_undoes_the_map_at_rationals() -> None:
    theta = [sympy.Rational(n, 7) for n in (3, -5, 2, 11)]
    image = triangular_map(theta)
    assert list(image) != theta
    assert list(triangular_inverse(list(image))) == theta


def test_map_is_nonlinear_with_constant_determinant() -> None:
    symbols = list(sympy.symbols("a b v w"))
    jacobian = triangular_map(symbols).jacobian(symbols)
    assert jacobian.det() == 6
    assert jacobian.free_symbols
