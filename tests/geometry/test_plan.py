"""Plans: what a computation takes, before it runs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import igsref
from igsref.geometry.plan import _route
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


MEASUREMENT = """
import torch, igsref
from pathlib import Path
from torch import nn

def peak(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

def measure(samples, inputs, hidden):
    torch.manual_seed(0)
    layers = nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 3)
    data = torch.randn(samples, inputs).double(), torch.arange(samples) % 3
    return igsref.exact_igs(nn.Sequential(*layers).double(), data)

torch.set_num_threads(1)
measure(4, 3, 2)  # what torch and LAPACK load on their first call is no part of a prediction
before = peak("VmRSS:")
result = measure(*SIZES)
print(result.num_rows, result.num_parameters, peak("VmHWM:") - before)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("sizes", [(500, 170, 170), (3500, 20, 25)], ids=["wide", "tall"])
def test_predicted_bytes_cover_the_measured_peak_and_not_much_more(sizes):
    """A fresh process, whose peak nothing else has raised yet."""
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASUREMENT.replace("SIZES", repr(sizes))],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    ).stdout
    rows, columns, grown = (int(number) for number in output.split())
    assert (rows > columns) == (sizes[0] > sizes[1] * sizes[2])
    assert grown >= 8 * rows * columns  # else the measurement has missed the factor itself
    predicted = _route(rows, columns, 2**40)[2]
    assert grown <= predicted <= 4 * grown + 300e6
