"""The two sentences fit the result: each kind has its own, and its numbers are the result's."""

from dataclasses import replace

import pytest
import torch

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


def test_a_saturated_pool_is_not_told_to_take_a_pool():
    model, (x, y) = perceptron()
    result = of(model, (x[:2], y[:2]), fisher_data=x[4:])
    assert result.saturated
    first, second = saturation_sentences(result)
    assert "inputs of the pool" in first
    assert "fisher_data" not in second


def test_a_known_rank_says_what_is_missing():
    result = of(*images(), rank_bound=8)
    assert result.rank_lower == result.rank_upper < result.num_rows
    first, second = saturation_sentences(result)
    assert f"F has rank {result.rank_lower} in a data space" in first
    assert f"{100 * result.saturation:.3g}% of its ceiling" in first
    assert f"{100 * (1 - result.saturation):.3g}%, depends on the network's geometry" in second


def test_a_known_rank_with_a_wide_bracket_is_not_decided():
    result = replace(of(*images(), rank_bound=8), lower=0.0, value=0.1, upper=1.0, ceiling=1.0)
    first, second = saturation_sentences(result)
    assert "computed saturation is 10%, of which 0% is certain" in first
    assert "90% as computed, of which nothing is certain" in second


def test_a_subset_of_parameters_is_a_lower_bound():
    subset = of(*images(), parameters="0.*")
    assert saturation_sentences(subset)[1].endswith("this is a lower bound.")


def test_repeated_inputs_reach_the_ceiling_without_full_rank():
    model, (x, y) = perceptron()
    result = of(model, (torch.cat([x, x]), torch.cat([y, y])))
    assert not result.saturated
    assert "its ceiling all the same" in saturation_sentences(result)[0]


@pytest.mark.parametrize(
    ("saturation", "said"),
    [(0.95, "Most of the number is therefore told"), (0.5, "what the measure adds")],
)
def test_near_the_ceiling_the_losses_tell_most(saturation, said):
    ends = dict.fromkeys(("lower", "value", "upper"), saturation)
    moved = replace(of(*images(), rank_bound=8), ceiling=1.0, **ends)
    assert said in saturation_sentences(moved)[1]


def test_a_rank_that_is_open_says_both_ends():
    result = replace(
        of(*images()), rank_lower=4, rank_upper=9, lower=0.5, value=0.6, upper=0.9, ceiling=1.0
    )
    first, second = saturation_sentences(result)
    assert "60%, of which 50% is certain" in first
    assert "between 4 and 9 of 12" in first
    assert "40% as computed, of which 10% is certain" in second


def test_an_iteration_is_an_estimate():
    result = igsref.matrixfree_igs(*images())
    first, second = saturation_sentences(result)
    assert "an estimate; at least" in first
    assert "stopped is below the exact number" in second


def test_a_perfect_fit_has_no_shares():
    model, (x, _) = perceptron()
    with pytest.warns(igsref.AccuracyWarning):
        result = of(model, (x, model(x).detach()), likelihood="gaussian")
    assert 0 <= result.ceiling < 1e-20
    assert saturation_sentences(result)[0] == "The losses are 0 to rounding."
