"""Digits are those of the relative error, and every way to be wrong has its verdict."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

import igsref
from igsref.conformance import badly_scaled, score
from igsref.conformance.scores import MOST_DIGITS, RIGHT_DIGITS, Score, correct_digits, is_above
from igsref.exact.decimals import Decimals
from igsref.vectors import load
from tests.conformance import cases

ONE = Decimals("1", "1")


@pytest.mark.parametrize(
    ("value", "digits"),
    [
        (1 + 2.0**-20, 20 * math.log10(2)),
        (1 - 2.0**-40, 40 * math.log10(2)),
        (0.5, math.log10(2)),
        (2.0**-60, 0.0),
        (0.0, 0.0),
        (2.0, 0.0),
        (-1.0, 0.0),
        (1e300, 0.0),
        (math.inf, 0.0),
        (-math.inf, 0.0),
        (math.nan, 0.0),
        (1.0, MOST_DIGITS),
    ],
)
def test_digits_are_minus_the_logarithm_of_the_relative_error(value, digits):
    # The error is a power of two, so that only the logarithm rounds.
    found = correct_digits(value, ONE)
    assert found == pytest.approx(digits, rel=1e-15)
    assert math.copysign(1.0, found) == 1.0


def test_digits_count_from_the_far_end_of_the_enclosure_and_stop_at_sixteen():
    # 1/8 from the upper end, 1/4 from the lower one, which is the smaller in size.
    assert correct_digits(1.25, Decimals("1", "1.375")) == pytest.approx(2 * math.log10(2))
    assert correct_digits(1.0, Decimals("0.9999999999999999999", "1")) == MOST_DIGITS


def test_a_value_that_is_exactly_zero_has_all_digits_or_none():
    nothing = Decimals("0", "0")
    assert correct_digits(0.0, nothing) == MOST_DIGITS
    assert correct_digits(1e-300, nothing) == 0.0


def test_above_the_ceiling_is_beyond_its_upper_end_by_more_than_a_right_value_may_be():
    ceiling = Decimals("1.9", "2")
    edge = float(Fraction(2) * (1 + Fraction(1, 10**6)))
    assert not is_above(edge - 1e-12, ceiling)
    assert is_above(edge + 1e-12, ceiling)
    assert is_above(math.inf, ceiling)
    assert not is_above(-math.inf, ceiling)
    assert not is_above(math.nan, ceiling)


def test_exact_igs_is_right_on_every_vector():
    vectors = load()
    found = score(igsref.exact_igs, vectors)
    assert [entry.name for entry in found] == [vector.name for vector in vectors]
    undecided = [vector.name for vector in vectors if vector.expected.rank is None]
    assert [entry.name for entry in found if entry.verdict == "skipped"] == undecided
    assert {entry.verdict for entry in found} <= {"right", "skipped"}
    assert len(found) - len(undecided) >= 40
    assert not [entry for entry in found if entry.above_ceiling]


def test_the_wrong_factor_is_wrong_and_exceeds_the_ceiling_where_that_is_reached():
    found = score(cases.off_by_a_hundredth, cases.small_vectors())
    assert {entry.verdict for entry in found} == {"wrong"}
    # 1% is 2 digits, to the 10 digits or more that the float64 value has.
    for entry in found:
        assert entry.correct_digits == pytest.approx(2.0, abs=1e-7)
    assert {entry.name: entry.above_ceiling for entry in found} == {
        "below its ceiling": False,
        "saturated": True,
        "smooth": True,
    }


@pytest.mark.parametrize(
    ("error", "verdict", "above"), [(1e-7, "right", False), (1.5e-6, "wrong", True)]
)
def test_what_is_above_its_ceiling_is_wrong_and_what_is_right_is_not_above(error, verdict, above):
    (_, saturated, _) = cases.small_vectors()
    ceiling = float(saturated.expected.ceiling)
    (found,) = score(lambda model, data: ceiling * (1 + error), [saturated])
    assert (found.verdict, found.above_ceiling) == (verdict, above)


def test_a_factor_of_the_number_of_samples_is_seen_in_the_ratio():
    def summed(model, data):
        return igsref.exact_igs(model, data).value * len(data[0])

    vectors = cases.small_vectors()
    for found, vector in zip(score(summed, vectors), vectors, strict=True):
        assert found.ratio == pytest.approx(len(vector.inputs), rel=1e-9)


def test_float32_is_wrong_where_units_are_badly_scaled():
    for found in score(cases.textbook32, badly_scaled(cases.small_vectors())):
        assert found.verdict == "wrong"
        assert found.correct_digits < RIGHT_DIGITS


@pytest.mark.parametrize(
    ("function", "verdict", "error"),
    [
        (cases.raises, "refused", "RuntimeError: no CUDA here"),
        (cases.exits, "refused", "SystemExit: 0"),
        (cases.text, "wrong", "returned str '1.5', no number"),
        (cases.nan, "wrong", "returned nan"),
    ],
)
def test_what_gives_no_number_is_named_and_not_raised(function, verdict, error):
    for found in score(function, cases.small_vectors()):
        assert (found.verdict, found.error) == (verdict, error)
        assert found.correct_digits == (None if verdict == "refused" else 0.0)
        assert (found.ratio, found.above_ceiling) == (None, False)
        assert found.seconds >= 0
        json.dumps(found.to_dict(), allow_nan=False)


def test_other_likelihoods_are_for_those_that_know_them():
    vectors = (cases.gaussian_vector(),)
    (skipped,) = score(cases.nan, vectors)
    assert skipped.verdict == "skipped"
    assert "gaussian" in skipped.error
    assert (skipped.correct_digits, skipped.seconds) == (None, None)
    assert skipped.to_dict()["correct_digits"] is None
    (right,) = score(igsref.exact_igs, vectors)
    assert right.verdict == "right"
    asked = []
    score(lambda model, data, likelihood: asked.append(likelihood), vectors)
    assert asked == ["gaussian"]


def test_what_is_not_certified_to_sixteen_digits_is_not_asked():
    (vector, *_) = cases.small_vectors()
    wide = replace(vector.expected, igs=Decimals("1", "1.000001"))
    (found,) = score(cases.raises, [replace(vector, expected=wide)])
    assert found.verdict == "skipped"
    assert "[1, 1.000001]" in found.error


def test_a_function_may_spoil_what_it_is_given():
    (vector, *_) = cases.small_vectors()

    def destructive(model, data):
        value = igsref.exact_igs(model, data).value
        model.float()
        for parameter in model.parameters():
            parameter.data.zero_()
        data[0].zero_()
        return value

    assert [found.verdict for found in score(destructive, [vector, vector])] == ["right"] * 2
    assert next(vector.model.parameters()).dtype == torch.float64


def test_values_that_are_not_finite_go_into_json_as_words():
    assert Score("a", "wrong", math.inf).to_dict()["value"] == "inf"
    assert Score("a", "wrong", math.nan).to_dict()["value"] == "nan"
    assert Score("a", "right", 1.5).to_dict()["value"] == 1.5
    assert Score("a", "refused").to_dict()["value"] is None
    assert Score("a", "wrong", 1e308, ratio=math.inf).to_dict()["ratio"] == "inf"
