"""The two sentences fit the result: each kind has its own, and its numbers are the result's."""

from dataclasses import replace

import pytest
import torch

import igsref
from igsref.report import sentences
from igsref.report.sentences import (
    advice,
    rank_source,
    saturation_in_short,
    saturation_sentences,
)
from tests.report.networks import images, perceptron


def of(model, data, **options):
    return igsref.exact_igs(model, data, **options)


def test_a_saturated_network_is_a_function_of_its_losses():
    result = of(*perceptron())
    assert result.saturated
    first, second = saturation_sentences(result)
    assert f"all {result.num_rows} independent outputs" in first
    assert "(the factor of F has full row rank)" in first
    assert "function of the training losses alone" in second
    assert saturation_in_short(result) == "1, shown"


def test_a_full_rank_that_is_estimated_is_not_shown():
    result = replace(of(*perceptron()), rank_lower=3)
    assert "as far as rounding is estimated" in saturation_sentences(result)[0]
    assert saturation_in_short(result) == "1, computed"


@pytest.mark.parametrize(
    ("value", "said"), [(0.15481, "0.1548"), (1 - 3e-7, "1 − 3e-07"), (1.0, "1")]
)
def test_what_is_less_than_1_is_not_called_1(value, said):
    result = replace(of(*images()), value=value, upper=1.0, ceiling=1.0)
    assert saturation_in_short(result) == said


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
    assert f"F has rank {result.rank_lower}, and the {result.num_samples} samples have" in first
    assert f"have {result.num_rows} independent outputs" in first
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


def test_a_full_rank_that_is_not_excluded_keeps_no_output_from_moving():
    result = of(*images())
    ends = {"lower": 0.9995, "value": 0.9996, "upper": 1.0, "ceiling": 1.0}
    near = replace(result, rank_lower=4, rank_upper=result.num_rows, **ends)
    first, _ = saturation_sentences(near)
    assert "cannot move" not in first
    assert "whichever it is, the IGS reaches more than 99.9% of its ceiling." in first
    assert advice(igsref.as_problem(*images()), near) == ""


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
    assert "rank between 4 and 9, where the outputs would allow 12" in first
    assert "40% as computed, of which 10% is certain" in second


def test_an_iteration_is_an_estimate():
    model, data = images()
    result = igsref.matrixfree_igs(model, data)
    wide = replace(result, lower=0.1 * result.upper)
    assert advice(igsref.as_problem(model, data), wide) == ""
    first, second = saturation_sentences(result)
    assert "an estimate; at least" in first
    assert "stopped is below the exact number" in second


def test_a_perfect_fit_has_no_shares():
    model, (x, _) = perceptron()
    with pytest.warns(igsref.AccuracyWarning):
        result = of(model, (x, model(x).detach()), likelihood="gaussian")
    assert 0 <= result.ceiling < 1e-20
    assert saturation_sentences(result)[0] == "The losses are 0 to rounding."
    wide = replace(result, saturated=False, lower=0.0)
    assert (
        advice(igsref.as_problem(model, (x, model(x).detach()), likelihood="gaussian"), wide) == ""
    )


def open_result(**changes):
    """Of the rank of the images' network nothing is known but 4 … 12: the bracket is wide."""
    ends = {"lower": 0.1, "value": 0.5, "upper": 1.0, "ceiling": 1.0}
    known = {"rank": 8, "rank_lower": 4, "rank_upper": 12, "rank_source": "rows"}
    return replace(of(*images()), **(ends | known | {"clear_rank": False} | changes))


def test_a_rank_that_is_not_known_is_to_be_bounded():
    text = advice(igsref.as_problem(*images()), open_result())
    assert "as large as 12, by the number of independent outputs. If you know" in text
    assert "rank_bound= brings the upper end down" in text
    assert "gap" not in text
    clear = open_result(clear_rank=True, rounding_error=0.002)
    text = advice(igsref.as_problem(*images()), clear)
    assert "gap behind 8 directions: if they are all, rank_bound=8 leaves no more" in text
    assert "±0.002" in text


def test_the_advice_narrows_the_bracket():
    model, data = images()
    result = of(model, data)
    assert result.clear_rank
    assert result.rank < result.rank_upper
    text = advice(igsref.as_problem(model, data), result)
    assert f"rank_bound={result.rank} leaves no more than" in text
    followed = of(model, data, rank_bound=result.rank)
    # What the sentence promises, in the one digit that it has.
    left = max(followed.upper - followed.value, followed.value - followed.lower)
    assert left <= float(f"{result.rounding_error:.0e}") * 1.1
    assert left < 1e-6 * (result.upper - result.lower)
    assert advice(igsref.as_problem(model, data), followed) == ""


def test_a_known_rank_and_a_saturated_network_need_no_bound():
    known = open_result(rank_lower=8, rank_upper=8)
    assert "rank_bound" not in advice(igsref.as_problem(*images()), known)
    problem = igsref.as_problem(*perceptron())
    assert advice(problem, igsref.exact_igs(problem)) == ""


def piecewise():
    _, (x, y) = images()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(25, 2), torch.nn.ReLU())
    return igsref.as_problem(model.append(torch.nn.Linear(2, 3)).double().eval(), (x, y))


def test_exact_arithmetic_is_named_where_it_is_to_be_had(monkeypatch):
    assert "arithmetic, and decides the rank." in advice(piecewise(), open_result())
    tanh, (x, y) = perceptron()
    smooth = igsref.as_problem(tanh, (x, y))
    assert "arithmetic, and may decide the rank." in advice(smooth, open_result())
    pair = (lambda values, x: x @ values["w"]), {"w": 2 * torch.eye(3)}
    function = igsref.as_problem(pair, (torch.eye(3), torch.arange(3)))
    assert "certify" not in advice(function, open_result())

    def refuses(problem):
        raise ValueError("too large")

    monkeypatch.setattr(sentences, "require_affordable", refuses)
    assert "certify" not in advice(piecewise(), open_result())


def test_a_source_has_words():
    result = of(*images())
    assert rank_source(replace(result, rank_source="rank_bound")) == "rank_bound, on trust"
    assert rank_source(replace(result, rank_source="exact rank")) == "exact arithmetic"
    own = "symmetries of the network"
    assert rank_source(replace(result, rank_source=own)) == own


def test_a_sample_that_holds_most_of_the_ceiling_is_named():
    result = of(*images(), rank_bound=8)
    ceiling, score = result.sample_ceiling.clone(), result.per_sample.clone()
    ceiling[2], score[2] = 9 * ceiling.sum(), 0.0
    heavy = replace(result, sample_ceiling=ceiling, per_sample=score)
    _, _, rest = heavy.dominant_sample()
    _, second = saturation_sentences(heavy)
    assert "But sample #2 alone holds 90" in second
    assert f"the others reach {100 * rest:.3g}%" in second
