"""Two kinds of numbers: floats become what they are, products are exact or enclose."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq
from hypothesis import given
from hypothesis import strategies as st

from igsref.exact.arithmetic import BALLS, RATIONALS, Undecided, rational
from tests.strategies import SEEDS, gaussian

KINDS = pytest.mark.parametrize("arithmetic", [RATIONALS, BALLS], ids=["rationals", "balls"])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_rational_is_the_float_and_no_other(value):
    number = rational(value)
    assert Fraction(int(number.p), int(number.q)) == Fraction(value)


def test_floats_keep_all_their_bits():
    assert rational(0.1) == fmpq(3602879701896397, 36028797018963968)
    assert rational(2.0**-1074) == fmpq(1, 2**1074)
    assert arb(0.1).is_exact() and BALLS.number(0.1) == arb(0.1)


@KINDS
def test_an_array_has_the_tensor_s_shape_and_entries(arithmetic):
    values = gaussian(0, 2, 3, 4)
    array = arithmetic.array(values.transpose(0, 2))
    assert array.shape == (4, 3, 2)
    assert array[3, 1, 0] == arithmetic.number(float(values[0, 1, 3]))
    assert arithmetic.array(torch.zeros(0, 3)).shape == (0, 3)


@KINDS
def test_zeros(arithmetic):
    zeros = arithmetic.zeros(2, 3)
    assert zeros.shape == (2, 3)
    assert all(entry == arithmetic.number(0.0) for entry in zeros.flat)


@given(seed=SEEDS, sizes=st.tuples(*[st.integers(1, 4)] * 3))
def test_products_of_rationals_are_exact_and_balls_hold_them(seed, sizes):
    rows, inner, columns = sizes
    left, right = gaussian(seed, rows, inner), gaussian(seed + 1, inner, columns)
    expected = [
        [
            sum(rational(float(left[i, k])) * rational(float(right[k, j])) for k in range(inner))
            for j in range(columns)
        ]
        for i in range(rows)
    ]
    exact = RATIONALS.matmul(RATIONALS.array(left), RATIONALS.array(right))
    assert (exact == np.array(expected, dtype=object)).all()
    with ctx.workprec(30):
        balls = BALLS.matmul(BALLS.array(left), BALLS.array(right))
    for ball, number in zip(balls.flat, exact.flat, strict=True):
        assert ball.contains(number)


@KINDS
def test_an_empty_sum_is_zero(arithmetic):
    product = arithmetic.matmul(arithmetic.zeros(2, 0), arithmetic.zeros(0, 3))
    assert product.shape == (2, 3)
    assert not any(entry != 0 for entry in product.flat)


@KINDS
def test_signs_of_exact_numbers_are_decided_and_zero_is_not_positive(arithmetic):
    found = [arithmetic.is_positive(arithmetic.number(x)) for x in (-1.0, 0.0, 2.0**-1074)]
    assert found == [False, False, True]


def test_the_sign_of_a_ball_is_decided_only_where_zero_is_outside():
    assert BALLS.is_positive(arb(1, 0.5)) is True
    assert BALLS.is_positive(arb(-1, 0.5)) is False
    for ball in (arb(0, 1e-300), arb(1, 1)):
        with pytest.raises(Undecided, match=r"the sign of .* is open"):
            BALLS.is_positive(ball)
