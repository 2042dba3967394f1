"""The two sentences fit the result: each kind has its own, and its numbers are the result's."""

from dataclasses import replace

import pytest

import igsref
from igsref.report.sentences import saturation_sentences
from tests.report.networks import images, perceptron


def of(model, data, **options):
    return igsref.exact_igs(model, data, **options)


def test_a_saturated_network_is_a_function_of_its_losses():
    result = of(*perceptron())
    assert result.saturated
    first, second = saturation_sentences(result)
    assert f"all {result.num_rows} independent outputs" in first
    assert "function of the training losses alone" in second


def test_a_known_rank_says_what_is_missing():
    result = of(*images(), rank_bound=8)
    assert result.rank_lower == result.rank_upper < result.num_rows
    first, second = saturation_sentences(result)
    assert f"rank {result.rank_lower} exactly" in first
    assert f"{100 * result.saturation:.3g}% of its ceiling" in first
    assert f"{100 * (1 - result.saturation):.3g}%, depends on the network's geometry" in second


@pytest.mark.parametrize(
    ("saturation", "said"),
    [(0.95, "Most of the number is therefore told"), (0.5, "what the measure adds")],
)
def test_near_the_ceiling_the_losses_tell_most(saturation, said):
    result = of(*images(), rank_bound=8)
    moved = replace(result, value=saturation * result.ceiling)
    assert said in saturation_sentences(moved)[1]


def test_a_rank_that_is_open_says_both_ends():
    result = replace(
        of(*images()), rank_lower=4, rank_upper=9, lower=0.5, value=0.6, upper=0.9, ceiling=1.0
    )
    first, second = saturation_sentences(result)
    assert "60%, of which 50% is certain" in first
    assert "between 4 and 9 of 12" in first
    assert "40% as computed, of which 10% is certain whatever the rank is" in second
    nothing = replace(result, upper=1.0)
    assert "of which nothing is certain" in saturation_sentences(nothing)[1]


def test_an_iteration_is_an_estimate():
    result = igsref.matrixfree_igs(*images())
    first, second = saturation_sentences(result)
    assert "an estimate; at least" in first
    assert "stopped is below the exact number" in second


def test_a_ceiling_of_zero_has_no_shares():
    result = replace(of(*perceptron()), ceiling=0.0, value=0.0, lower=0.0, upper=0.0)
    assert "whatever the landscape is" in saturation_sentences(result)[1]
