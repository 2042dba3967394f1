"""The head says what was measured, on what, and when."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

import igsref
from igsref.report.heading import heading, model_name
from tests.report.networks import images, perceptron

WHEN = datetime(2022, 11, 28, 9, 5, 59, tzinfo=UTC)


def head(problem, **options):
    return heading(problem, igsref.exact_igs(problem), WHEN, **options)


def test_model_data_and_date_are_there():
    assert head(igsref.as_problem(*perceptron())) == {
        "model": "Sequential, 51 parameters",
        "data": "N = 8 labelled samples, C = 3 classes, categorical likelihood",
        "Fisher matrix F": "a mean over the same samples",
        "measured": "2022-11-28 09:05 UTC",
    }


def test_a_pool_is_said_with_its_size():
    model, (x, y) = perceptron()
    problem = igsref.as_problem(model, (x[:3], y[:3]), fisher_data=x[3:])
    rows = head(problem)
    assert rows["data"].startswith("N = 3 labelled samples")
    assert rows["Fisher matrix F"].startswith("a mean over a pool of N_F = 8 inputs")


def test_a_file_of_weights_and_a_choice_of_parameters_are_said():
    problem = igsref.as_problem(*images(), parameters="0.*")
    assert head(problem, weights=Path("net.safetensors"))["model"] == (
        "Sequential, 10 of 16 parameters: the IGS is a lower bound for the whole network; weights "
        "from net.safetensors"
    )
    saturated = igsref.as_problem(*perceptron(), parameters="0.*")
    assert igsref.exact_igs(saturated).saturated
    assert head(saturated)["model"].endswith("the IGS is the same as for the whole network")


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_function_has_no_type_and_other_outputs_are_no_classes(likelihood):
    pair = (lambda values, x: x @ values["w"]), {"w": torch.eye(2)}
    problem = igsref.as_problem(pair, (torch.eye(2), torch.ones(2, 2)), likelihood=likelihood)
    assert model_name(problem) == "a function"
    assert "C = 2 outputs" in head(problem)["data"]
