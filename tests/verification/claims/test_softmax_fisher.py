"""Series of the KL divergence and the closed Cholesky factor, against values in floats."""

import math

import pytest
import sympy
from sympy.polys.rings import ring

from verification.claims.softmax_fisher import cholesky_factor, divergences

P, D = [0.2, 0.3, 0.5], [1, -2, 3]
STEP = 1e-3


def kl(left: list[float], right: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(left, right, strict=True))


def test_series_of_both_divergences() -> None:
    constants = ring("unused", sympy.QQ)[0]
    p = [constants(sympy.QQ(n, 10)) for n in (2, 3, 5)]
    moved = [[constants(0), constants(sympy.QQ(d)), constants(0), constants(0)] for d in D]
    weights = [q * math.exp(STEP * d) for q, d in zip(P, D, strict=True)]
    tilted = [w / sum(weights) for w in weights]
    values = (kl(tilted, P), kl(P, tilted))
    mean = sum(q * d for q, d in zip(P, D, strict=True))
    moments = [sum(q * (d - mean) ** k for q, d in zip(P, D, strict=True)) for k in (2, 4)]
    # The fourth-order terms are 3κ₄/4! and κ₄/4!; twice the larger one covers those beyond.
    rest = 2 * abs(moments[1] - 3 * moments[0] ** 2) / 8 * STEP**4
    for series, value in zip(divergences(p, moved), values, strict=True):
        coefficients = [float(term.coeff(1)) for term in series]
        assert sum(c * STEP**n for n, c in enumerate(coefficients)) == pytest.approx(
            value, rel=0, abs=rest
        )
        assert abs(coefficients[3]) * STEP**3 > 10 * rest


def test_cholesky_factor_of_three_classes() -> None:
    p, factor = cholesky_factor(3)
    tails = {"tau0": math.sqrt(0.7), "tau1": math.sqrt(0.2), "s0": math.sqrt(0.3)}
    numbers = {**tails, "s1": math.sqrt(0.5)}
    values = {s: numbers[s.name] for s in factor.free_symbols | p[-1].free_symbols}
    assert [float(sympy.sympify(q).subs(values)) for q in p] == pytest.approx([0.3, 0.5, 0.2])
    lower = [[float(sympy.sympify(x).subs(values)) for x in row] for row in factor.tolist()]
    assert lower[0][1] == 0
    assert lower[0][0] ** 2 == pytest.approx(0.3 * 0.7)
    assert lower[0][0] * lower[1][0] == pytest.approx(-0.3 * 0.5)
    assert lower[1][0] ** 2 + lower[1][1] ** 2 == pytest.approx(0.5 * 0.5)
