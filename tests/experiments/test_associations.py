"""Coefficients over networks, and intervals that hold what they should."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments import associations
from experiments.associations import (
    COEFFICIENTS,
    associated,
    differences,
    interval,
    mean_and_error,
    spearman,
)


def pairs(correlation, count, seed):
    drawn = np.random.default_rng(seed).standard_normal((2, count))
    x = drawn[0]
    return x, correlation * x + (1 - correlation**2) ** 0.5 * drawn[1]


@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_a_rising_relation_is_1_and_a_falling_one_minus_1(kind):
    x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    rising = associated(x, [2 * value for value in x], kind)
    assert (rising.lower, rising.value, rising.upper) == pytest.approx((1, 1, 1))
    assert associated(x, [-value for value in x], kind).value == pytest.approx(-1)
    assert str(rising) == "+1.00 [+1.00, +1.00]"


@pytest.mark.parametrize(
    "kind, known",
    [
        ("Pearson", stats.pearsonr),
        ("Spearman", stats.spearmanr),
        ("Kendall", stats.kendalltau),
    ],
)
def test_coefficients_are_scipy_s_with_ties_too(kind, known):
    x, y = np.random.default_rng(0).integers(5, size=(2, 20)).astype(float)
    expected = known(x, y).statistic
    assert associated(x, y, kind).value == pytest.approx(expected, abs=1e-14)


def test_ranks_see_no_curvature_and_pearson_does():
    x = list(range(1, 11))
    y = [2.0**value for value in x]
    assert associated(x, y, "Spearman").value == pytest.approx(1)
    assert associated(x, y, "Kendall").value == pytest.approx(1)
    assert associated(x, y, "Pearson").value < 0.9


def test_intervals_hold_the_true_coefficient_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(associations, "RESAMPLES", 200)
    truth, trials = 0.6, 60
    found = [associated(*pairs(truth, 40, seed), "Pearson") for seed in range(trials)]
    held = sum(each.lower <= truth <= each.upper for each in found)
    # Binomial(60, .95) is below 50 with probability 1e-4; percentile intervals are a bit short.
    assert 48 <= held < trials


def test_what_has_no_value_is_left_out_and_a_constant_says_nothing():
    x = [1.0, 2.0, float("nan"), 3.0, 4.0, 5.0, 6.0]
    y = [1.0, 2.0, 3.0, float("inf"), 5.0, 7.0, 6.0]
    assert associated(x, y, "Spearman").count == 5
    assert associated([1.0] * 7, y, "Spearman") is None
    assert associated(x[:4], y[:4], "Spearman") is None


def test_the_seed_decides_the_interval():
    data = pairs(0.5, 30, 1)
    one, same, other = (associated(*data, "Kendall", seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.value == other.value
    assert (one.lower, one.upper) != (other.lower, other.upper)


def test_the_interval_is_student_s():
    values = [1.0, 2.0, 3.0, 4.0]
    mean, error = mean_and_error(values)
    assert (mean, error) == pytest.approx((2.5, (5 / 3) ** 0.5 / 2))
    low, high = interval(values)
    assert (low, high) == pytest.approx((mean - 3.18245 * error, mean + 3.18245 * error), rel=1e-5)
    assert interval([1.0]) == (-math.inf, math.inf)


def test_a_difference_of_coefficients_is_of_the_same_networks():
    rng = np.random.default_rng(0)
    y = np.arange(40.0)
    close, far = y + rng.normal(size=40), y + 30 * rng.normal(size=40)
    found = differences(far, {"close": close, "same": far, "against": -y}, y)
    assert found["same"] == (0.0, 0.0)
    low, high = found["close"]
    assert 0 < low < spearman(close[None], y[None])[0] - spearman(far[None], y[None])[0] < high
    assert found["against"][1] < -0.5


def test_too_few_networks_or_constants_have_no_difference():
    y = [1.0, 2.0, 3.0, 4.0, float("nan")]
    assert differences(y, {"a": [1.0, 3.0, 2.0, 4.0, 5.0]}, y) == {}
    whole = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert differences(whole, {"a": [1.0] * 5}, whole) == {}
