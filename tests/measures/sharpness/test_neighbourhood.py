"""What the measures around θ share: the rise, the checks, the best of several starts."""

import math

import pytest
import torch

import igsref
from igsref.measures.sharpness.neighbourhood import (
    best_of,
    check_finite,
    checked_allowance,
    checked_size,
    gaussian,
    loss_rise,
    seeded,
)
from tests.random_states import states
from tests.strategies import architecture


def test_the_rise_is_that_of_the_mean_loss_from_theta():
    model, x, y = architecture("MLP with tanh", 0, 6)
    rise = loss_rise(igsref.as_problem(model, (x, y)))
    m = sum(value.numel() for value in model.parameters())
    assert float(rise(torch.zeros(m).double())) == 0
    before = torch.nn.functional.cross_entropy(model(x), y)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.125)
    after = torch.nn.functional.cross_entropy(model(x), y)
    # Two losses near 1, each a mean of six.
    expected = float((after - before).detach())
    assert float(rise(torch.full((m,), 0.125).double())) == pytest.approx(expected, abs=1e-14)


def test_the_best_start_counts_and_the_median_says_how_alike_they_are():
    found = best_of([1.0, 5.0, 2.0], "rho", 0.1)
    assert (found.value, found.uncertainty, found.kind) == (5.0, 3.0, "maximised")


def test_no_rise_below_zero_is_a_maximum():
    found = best_of([-1.0, -3.0], "rho", 0.1)
    assert (found.value, found.uncertainty) == (0.0, 0.0)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_loss_that_overflows_is_refused(value):
    with pytest.raises(ValueError, match="rho must be so small that the loss is finite"):
        best_of([1.0, value], "rho", 0.1)
    with pytest.raises(ValueError, match=r"it is not for 0\.1"):
        check_finite([value], "rho", 0.1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: checked_size("rho", 0.0), ValueError, "rho must be positive and finite; got 0"),
        (lambda: checked_size("rho", -1), ValueError, "rho must be positive and finite; got -1"),
        (lambda: checked_size("rho", math.inf), ValueError, "rho must be positive and finite"),
        (lambda: checked_size("rho", math.nan), ValueError, "rho must be positive and finite"),
        (lambda: checked_size("rho", "1"), TypeError, "rho must be a number; got '1'"),
        (lambda: checked_size("rho", True), TypeError, "rho must be a number; got True"),
        (lambda: seeded(2.0), TypeError, r"seed must be an integer; got float 2\.0"),
        (lambda: seeded(-1), ValueError, "seed must be at least 0; got -1"),
        (lambda: seeded(2**70), ValueError, rf"seed must be below 2\*\*64; got {2**70}"),
        (lambda: checked_allowance("eta", "a"), TypeError, "eta must be a number; got 'a'"),
        (lambda: checked_allowance("eta", True), TypeError, "eta must be a number; got True"),
        (lambda: checked_allowance("eta", -1), ValueError, "eta must be at least 0 and finite"),
        (lambda: checked_allowance("eta", math.nan), ValueError, "at least 0 and finite; got nan"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_largest_seed_there_is_is_taken():
    assert seeded(2**64 - 1).initial_seed() % 2**64 == 2**64 - 1


def test_draws_follow_the_seed_alone():
    before = states()
    like = torch.zeros(5).double()
    first = gaussian(seeded(3), like)
    torch.rand(1)
    assert torch.equal(gaussian(seeded(3), like), first)
    assert not torch.equal(gaussian(seeded(4), like), first)
    torch.set_rng_state(torch.tensor(before[2], dtype=torch.uint8))
    gaussian(seeded(3), like)
    assert states() == before
