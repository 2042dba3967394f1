"""KL divergence and its quadratic form: equation (3)."""

import pytest
import torch

import igsref
from tests.strategies import architecture, gaussian, mlp


@pytest.fixture
def problem() -> igsref.Problem:
    model, x, y = architecture("MLP with tanh", 0, 8)
    return igsref.as_problem(model, (x, y))


def test_quadratic_form_is_the_dense_matrix(problem):
    step = gaussian(1, problem.num_parameters)
    dense = 0.5 * float(step @ igsref.fisher(problem) @ step)
    assert igsref.fisher_quadratic(problem, step=step) == pytest.approx(dense, rel=1e-12)


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "gaussian"])
def test_error_of_the_quadratic_form_is_of_third_order(likelihood):
    model = mlp(2, [2, 4, 3], torch.nn.Tanh)
    labels = {
        "categorical": torch.arange(8) % 3,
        "bernoulli": torch.ones(8, 3),
        "gaussian": gaussian(5, 8, 3),
    }
    data = (gaussian(3, 8, 2), labels[likelihood])
    problem = igsref.as_problem(model, data, likelihood=likelihood)
    step = gaussian(4, problem.num_parameters)
    errors = []
    for size in (2e-2, 1e-2, 5e-3):
        kl = igsref.kl_divergence(problem, step=size * step)
        errors.append(kl - igsref.fisher_quadratic(problem, step=size * step))
    # Halving the step divides a third-order error by 8, up to the fourth order: a few per cent.
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(8, rel=0.08)


def test_named_and_flat_steps_agree(problem):
    flat = gaussian(1, problem.num_parameters)
    theta = problem.function.parameters
    parts = flat.split([value.numel() for value in theta.values()])
    named = {k: p.view_as(v) for (k, v), p in zip(theta.items(), parts, strict=True)}
    assert igsref.kl_divergence(problem, step=flat) == igsref.kl_divergence(problem, step=named)


def test_no_step_is_no_divergence(problem):
    assert igsref.kl_divergence(problem, step=torch.zeros(problem.num_parameters)) == 0.0


@pytest.mark.parametrize("step", [torch.zeros(3), {"unknown": torch.zeros(2)}])
def test_step_of_the_wrong_shape_is_refused(problem, step):
    with pytest.raises(ValueError, match="step must have"):
        igsref.kl_divergence(problem, step=step)
