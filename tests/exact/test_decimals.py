"""Decimal strings: outwards whatever the number, in order, and as many digits as they prove."""

import math
from fractions import Fraction

import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from igsref.exact.decimals import Decimals, between, enclosed

WHOLE = st.integers(-(10**40), 10**40)
FRACTIONS = st.builds(Fraction, WHOLE, st.integers(1, 10**30))


@given(FRACTIONS, FRACTIONS)
def test_ends_are_rounded_outwards(one, other):
    low, high = sorted((one, other))
    found = Decimals.outwards(low, high)
    lower, upper = found.fractions
    assert lower <= low <= high <= upper
    assert found.contains(low) and found.contains(high)


@given(FRACTIONS, st.integers(0, 400))
def test_rounding_adds_less_than_a_hundredth_of_the_width(value, exponent):
    """But no less than to 17 digits: the ends of a number that is known so well."""
    width = abs(value) / 10**exponent
    lower, upper = Decimals.outwards(value, value + width).fractions
    excess = (upper - lower) - width
    assert excess <= max(width / 100, 2 * abs(value) / 10**16)


@given(st.floats(-4, 4), st.integers(-2000, 2000))
def test_numbers_of_any_size_have_short_strings(mantissa, exponent):
    value = Fraction(mantissa) * Fraction(2) ** exponent
    found = Decimals.outwards(value, value)
    lower, upper = found.fractions
    assert found.contains(value)
    assert upper - lower <= abs(value) / 10**15
    assert len(found.lower) <= len("-1.2345678901234567890e-1000")


@pytest.mark.parametrize("digits", [1, 5, 25, 307, 308, 309, 400, 999])
def test_digits_are_those_that_the_width_leaves(digits):
    low = Fraction(1, 7)
    width = Fraction(1, 7) * Fraction(3, 2) / 10**digits
    lower, upper = Decimals.outwards(low, low + width).fractions
    assert Decimals.outwards(low, low + width).digits == digits - 1
    assert (upper - lower) / upper < Fraction(1, 10 ** (digits - 1))


def test_an_exact_number_has_all_digits_that_can_be_asked_for():
    assert Decimals("0.25", "0.25").digits == Decimals("0", "0").digits >= 1000


@pytest.mark.parametrize("fewest, most", [(17, 1100), (30, 40), (3, 5)])
def test_as_many_digits_are_written_as_wanted(fewest, most):
    low, width = Fraction(1, 7), Fraction(1, 10**50)
    for high in (low, low + width):
        found = Decimals.outwards(low, high, fewest, most)
        written = len(found.lower.removeprefix("0."))
        assert min(fewest, most) <= written <= most
        assert found.contains(low) and found.contains(high)


def test_an_interval_that_reaches_from_zero_has_no_digits():
    assert Decimals("0", "3").digits <= 0
    assert Decimals("-1", "1").digits <= 0


@pytest.mark.parametrize(
    "lower, upper", [("1.5", "1.25"), ("-1", "-2"), ("1e-30", "0")], ids=["plain", "negative", "e"]
)
def test_ends_out_of_order_are_refused(lower, upper):
    with pytest.raises(ValueError, match=f"lower must not exceed upper; got {lower} > {upper}"):
        Decimals(lower, upper)


@pytest.mark.parametrize("text", ["nan", "inf", "", "1,5", "a"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="must be decimal strings; got '1', "):
        Decimals("1", text)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.floats(0, 1e30))
def test_a_ball_lies_between_its_ends(middle, radius):
    with ctx.workprec(80):
        ball = arb(middle, radius)
        found = enclosed(ball)
    low, high = found.fractions
    exact = Fraction(middle)
    assert low <= exact - Fraction(radius) and exact + Fraction(radius) <= high


def test_an_exact_ball_has_equal_ends():
    assert str(enclosed(arb(-0.375))) == "[-0.375, -0.375]"
    assert str(enclosed(arb(0))) == "[0, 0]"


def test_ends_of_two_balls_keep_the_digits_of_both():
    """One ball around both has a radius of 30 bits."""
    with ctx.workprec(200):
        low, high = arb(1) / 3, arb(2)
        found = between(low, high, fewest=40)
    assert found == Decimals("0." + 40 * "3", "2")


def test_between_the_ends_and_its_float():
    found = Decimals("0.1", "0.3")
    assert found.contains(0.2) and not found.contains(0.30000001)
    assert found.contains(Fraction(3, 10)) and not found.contains(0.3 + math.ulp(0.3))
    assert float(found) == pytest.approx(0.2, abs=math.ulp(0.2))


def test_what_is_known_of_a_number_cuts_its_ends():
    most = Decimals("2.25", "2.375")
    assert Decimals("-1e-30", "2.5").within(most) == Decimals("0", "2.375")
    assert Decimals("1", "2.3").within(most) == Decimals("1", "2.3")
