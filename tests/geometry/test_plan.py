"""Plans: what a computation takes, before it runs."""

from dataclasses import replace

import pytest
import torch

import igsref
from igsref.geometry.plan import _route
from tests.peak_memory import measured, needs_proc
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


def test_a_tall_problem_may_be_sketched_and_a_wide_one_not():
    model, x, y = architecture("MLP with relu", 0, 200)
    tall, wide = igsref.plan(model, (x, y)), igsref.plan(model, (x[:6], y[:6]))
    assert (wide.sketched_bytes, wide.sketched_seconds) == (None, None)
    assert "sketched" not in str(wide)
    assert tall.num_rows > tall.num_parameters
    assert tall.sketched_bytes > 8 * (2 + 1) * tall.num_parameters**2
    assert tall.sketched_seconds > 0
    assert "sketched, an estimate" in str(tall)
    assert tall.sketch_is_cheaper == (tall.sketched_seconds < tall.seconds)
    assert not wide.sketch_is_cheaper
    assert replace(tall, sketched_seconds=1.0, seconds=2.0).sketch_is_cheaper
    assert "cheaper" in str(replace(tall, sketched_seconds=1.0, seconds=2.0))
    assert "cheaper" not in str(replace(tall, sketched_seconds=2.0, seconds=1.0))


@pytest.mark.parametrize("memory", [0, -5])
def test_budget_that_is_not_positive_is_refused(memory):
    model, x, y = architecture("MLP with relu", 0, 6)
    with pytest.raises(ValueError, match=f"memory, in bytes, must be at least 1; got {memory}"):
        igsref.plan(model, (x, y), memory=memory)


def test_budget_that_is_no_integer_is_refused():
    model, x, y = architecture("MLP with relu", 0, 6)
    with pytest.raises(TypeError, match="memory"):
        igsref.exact_igs(model, (x, y), memory=1e9)


ROUTE = """
import igsref
from torch import nn

def measure(samples, inputs, hidden):
    torch.manual_seed(0)
    layers = nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 3)
    data = torch.randn(samples, inputs).double(), torch.arange(samples) % 3
    return igsref.exact_igs(nn.Sequential(*layers).double(), data)
"""


@pytest.mark.long
@needs_proc
@pytest.mark.parametrize("sizes", [(500, 170, 170), (3500, 20, 25)], ids=["wide", "tall"])
def test_predicted_bytes_cover_the_measured_peak_and_not_much_more(sizes):
    rows, columns, grown = measured(
        ROUTE,
        "measure(4, 3, 2)",
        f"result = measure{sizes}",
        "result.num_rows, result.num_parameters",
    )
    assert (rows > columns) == (sizes[0] > sizes[1] * sizes[2])
    assert grown >= 8 * rows * columns  # else the measurement has missed the factor itself
    predicted = _route(rows, columns, 2**40)[2]
    assert grown <= predicted <= 4 * grown + 300e6
