"""Plans: what a computation takes, before it runs."""

import pytest
import torch

import igsref
from igsref.geometry.plan import dense_bytes
from tests.strategies import architecture


def test_plan_counts_rows_and_parameters():
    model, x, y = architecture("MLP with relu", 0, 6)
    plan = igsref.plan(model, (x, y))
    assert (plan.num_rows, plan.num_parameters, plan.num_samples, plan.num_classes) == (
        12,
        sum(p.numel() for p in model.parameters()),
        6,
        3,
    )
    assert plan.fits
    assert plan.seconds > 0


def test_plan_says_when_it_does_not_fit():
    model, x, y = architecture("MLP with relu", 0, 6)
    plan = igsref.plan(model, (x, y), memory=10)
    assert not plan.fits
    assert "does NOT fit in 10 B" in str(plan)


def test_plan_runs_no_derivative(monkeypatch):
    monkeypatch.setattr(torch.func, "vjp", lambda *_: pytest.fail("a derivative was taken"))
    model, x, y = architecture("MLP with relu", 0, 6)
    igsref.plan(model, (x, y))


@pytest.mark.parametrize("memory", [0, -5])
def test_budget_that_is_not_positive_is_refused(memory):
    model, x, y = architecture("MLP with relu", 0, 6)
    with pytest.raises(ValueError, match=f"memory must be positive.*{memory}"):
        igsref.plan(model, (x, y), memory=memory)


def test_budget_that_is_no_integer_is_refused():
    model, x, y = architecture("MLP with relu", 0, 6)
    with pytest.raises(TypeError, match="memory"):
        igsref.exact_igs(model, (x, y), memory=1e9)


def test_predicted_bytes_hold_the_factor_and_its_copy():
    assert dense_bytes(600, 5393) >= 2 * 600 * 5393 * 8
