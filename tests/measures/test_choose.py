"""igs: which route, and that each says the same."""

import re

import pytest

import igsref
from igsref.geometry.plan import plan_of
from igsref.measures import choose
from tests.measures.test_matrixfree import labelled, perceptron

WIDE = (perceptron(0, 30, 40, 40, 3), labelled(0, 12, (30,), 3))
TALL = (perceptron(0, 2, 6, 6, 3), labelled(0, 40, (2,), 3))


def test_what_fits_is_exact():
    found, exact = igsref.igs(*WIDE), igsref.exact_igs(*WIDE)
    assert found.method == exact.method == "dense"
    assert found.value == exact.value
    assert "dense factor" in found.reason


@pytest.mark.parametrize("model, data, method", [(*WIDE, "compressed"), (*TALL, "krylov")])
def test_what_takes_too_long_is_certified_or_iterated(model, data, method, monkeypatch):
    problem = igsref.as_problem(model, data)
    seconds = plan_of(problem, None).seconds
    monkeypatch.setattr(choose, "compressed_seconds", lambda *sizes: seconds / 4)
    found = igsref.igs(problem, max_seconds=seconds / 2, tolerance=1e-4)
    exact = igsref.exact_igs(problem)
    assert found.method == method
    assert f"{problem.num_rows} × {problem.num_parameters}" in found.reason
    assert found.lower <= exact.upper
    assert exact.lower <= found.upper


def test_a_certificate_that_fails_is_followed_by_iterations(monkeypatch):
    model = perceptron(0, 30, 40, 40, 3)
    model[2].weight.data.zero_()  # all samples look alike behind it
    model[2].bias.data.fill_(1.0)
    problem = igsref.as_problem(model, WIDE[1])
    seconds = plan_of(problem, None).seconds
    monkeypatch.setattr(choose, "compressed_seconds", lambda *sizes: 0.0)
    found = igsref.igs(problem, max_seconds=seconds / 2)
    assert found.method == "krylov"
    assert "show rank" in found.reason
    assert found.lower <= igsref.exact_igs(problem).upper


def test_memory_counts_too(monkeypatch):
    problem = igsref.as_problem(*WIDE)
    monkeypatch.setattr(choose, "compressed_bytes", lambda *sizes: 0)
    least = plan_of(problem, 1).bytes_needed
    found = igsref.igs(problem, memory=least - 1, max_seconds=1e9)
    assert found.method in ("compressed", "krylov")
    assert "takes" in found.reason


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"max_seconds must be positive; got 0\.0"):
        igsref.igs(*WIDE, max_seconds=0.0)


@pytest.mark.parametrize(
    "model, data, words",
    [
        (*TALL, r"no certificate: F has rank \d+ at most, by"),
        (
            perceptron(0, 6, 5, 3),
            labelled(0, 16, (6,), 3),
            "no certificate: it takes 64 parameters",
        ),
        (*WIDE, r"no certificate: it takes .*iB and about 1\.2 days"),
    ],
)
def test_why_no_certificate_was_tried_is_said(model, data, words, monkeypatch):
    problem = igsref.as_problem(model, data)
    monkeypatch.setattr(choose, "compressed_seconds", lambda *sizes: 1e5)
    found = igsref.igs(problem, max_seconds=plan_of(problem, None).seconds / 2)
    assert re.search(words, found.reason)
