"""A number with an error bar: what it refuses, and that sums of it are outward."""

from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igsref.enclosure import Enclosure, combined

NUMBERS = st.floats(0, 2.0**40, allow_subnormal=False)
GRADES = st.sampled_from(["estimated", "verified"])
INF, NAN = float("inf"), float("nan")


@st.composite
def enclosures(draw):
    ends = sorted(draw(st.lists(NUMBERS, min_size=3, max_size=3)))
    return Enclosure(*ends, draw(GRADES))


@pytest.mark.parametrize(
    "ends", [(2.0, 1.0, 3.0), (1.0, 4.0, 3.0), (0.0, NAN, 1.0), (0.0, 1.0, NAN)]
)
def test_ends_out_of_order_are_refused(ends):
    lower, value, upper = ends
    with pytest.raises(ValueError, match=f"in order; got {lower} ≤ {value} ≤ {upper}"):
        Enclosure(*ends, "verified")


@pytest.mark.parametrize("grade", ["certified", "", None])
def test_an_unknown_grade_is_refused(grade):
    with pytest.raises(ValueError, match=rf"one of \('estimated', 'verified'\); got {grade!r}"):
        # Not by the constructor, whose annotations the tests execute.
        Enclosure.__post_init__(SimpleNamespace(lower=0.0, value=1.0, upper=2.0, grade=grade))


@given(enclosure=enclosures())
def test_an_enclosure_is_its_value_where_a_float_is_wanted(enclosure):
    assert float(enclosure) == enclosure.value
    assert enclosure.width == enclosure.upper - enclosure.lower


def test_an_enclosure_that_is_open_upwards_has_infinite_width():
    assert Enclosure(1.0, 2.0, INF, "estimated").width == INF


def test_text_shows_value_ends_and_grade():
    text = str(Enclosure(1.0, 1.5, 2.25, "verified"))
    assert text == "1.5 in [1, 2.25], verified"


@given(enclosure=enclosures(), most=NUMBERS)
def test_a_cap_moves_value_and_upper_end_only(enclosure, most):
    if most < enclosure.lower:
        with pytest.raises(ValueError, match="in order"):
            enclosure.capped(most)
        return
    capped = enclosure.capped(most)
    assert (capped.lower, capped.grade) == (enclosure.lower, enclosure.grade)
    assert (capped.value, capped.upper) == (min(enclosure.value, most), min(enclosure.upper, most))


TERMS = st.lists(st.tuples(NUMBERS, enclosures()), min_size=1, max_size=5)


@given(terms=TERMS)
def test_a_sum_is_rounded_outwards(terms):
    total = combined(*terms)
    exact = {
        end: sum(Fraction(weight) * Fraction(getattr(term, end)) for weight, term in terms)
        for end in ("lower", "value", "upper")
    }
    assert Fraction(total.lower) <= exact["lower"]
    assert exact["upper"] <= Fraction(total.upper)
    # And by hardly more than it must; the smallest products lose digits by underflow.
    share, tiny = Fraction(1, 2**48), Fraction(2.0**-1020)
    for end, value in exact.items():
        assert abs(Fraction(getattr(total, end)) - value) <= share * value + tiny


@given(terms=TERMS)
def test_a_sum_is_verified_where_all_of_it_is(terms):
    all_verified = all(term.grade == "verified" for _, term in terms)
    assert combined(*terms).grade == ("verified" if all_verified else "estimated")


@given(terms=TERMS)
def test_what_is_open_upwards_makes_the_sum_so(terms):
    open_ended = Enclosure(0.0, 1.0, INF, "verified")
    assert combined(*terms, (0.5, open_ended)).upper == INF


@given(enclosure=enclosures())
def test_what_weighs_nothing_changes_nothing(enclosure):
    open_ended = Enclosure(0.0, 1.0, INF, "verified")
    assert combined((1.0, enclosure), (0.0, open_ended)) == combined((1.0, enclosure))
    both_open = combined((1.0, open_ended), (0.0, open_ended))
    assert both_open.upper == INF
