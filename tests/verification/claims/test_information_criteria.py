"""Exact gaps by hand."""

from flint import fmpq

from verification.claims.information_criteria import (
    ONE,
    coin_gap,
    expected_gap,
    linear_logit,
    moments,
    no_fit,
)


def test_one_draw_has_no_training_loss():
    """N = 1: θ̂ = y, so the gap is the test loss, ½E(y − y')² = σ²."""
    assert expected_gap(1, sign=1) == moments()[1]


def test_a_coin_without_a_finite_fit():
    assert no_fit(2, fmpq(1, 4)) == fmpq(5, 8)


def test_two_throws_have_one_fit():
    """k = 1 of 2 is p̂ = ½, whose logit is 0: no gap."""
    assert coin_gap(2, fmpq(1, 4), ONE).contains(0)


def test_the_true_labels_of_a_linear_logit_are_its_minimum():
    gradient, F, C = linear_logit((fmpq(2, 3), fmpq(4, 5)))
    assert gradient == 0
    assert F == C
