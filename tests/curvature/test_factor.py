"""Factors of the Fisher matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import igsref
from igsref.curvature.factor import gradients, reduced_factor, textbook_factor
from tests.strategies import SEEDS, architecture, classes, gaussian, mlp

LIKELIHOODS = st.sampled_from(["categorical", "bernoulli", "gaussian"])


def some_problem(seed: int, likelihood: str, samples: int = 5) -> igsref.Problem:
    outputs = 3 if likelihood == "categorical" else 2
    model = mlp(seed, [2, 4, outputs], torch.nn.Tanh)
    labels = {
        "categorical": classes(seed, samples, 3),
        "bernoulli": classes(seed, samples * 2, 2).view(samples, 2),
        "gaussian": gaussian(seed, samples, 2),
    }
    data = (gaussian(seed + 1, samples, 2), labels[likelihood])
    return igsref.as_problem(model, data, likelihood=likelihood)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, likelihood=LIKELIHOODS)
def test_both_factors_give_the_fisher_matrix(seed, likelihood):
    problem = some_problem(seed, likelihood)
    fisher = igsref.fisher(problem)
    size = 100 * 2**-52 * float(fisher.abs().max())
    for factor in (reduced_factor(problem), textbook_factor(problem)):
        product = factor.mT @ factor / problem.num_samples
        torch.testing.assert_close(product, fisher, rtol=0, atol=size)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, likelihood=LIKELIHOODS)
def test_gradients_are_residuals_times_the_reduced_factor(seed, likelihood):
    problem = some_problem(seed, likelihood)
    blocks = reduced_factor(problem).view(problem.num_samples, problem.rows_per_sample, -1)
    expected = torch.einsum("nr,nrm->nm", problem.residuals(), blocks)
    g = gradients(problem)
    torch.testing.assert_close(g, expected, rtol=0, atol=200 * 2**-52 * float(g.abs().max()))


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "gaussian"])
def test_gradients_are_autograds(likelihood):
    problem = some_problem(7, likelihood)

    def loss(theta: dict[str, torch.Tensor]) -> torch.Tensor:
        logits = problem.function.call(theta, problem.samples.args, {})
        return problem.likelihood.loss(logits, problem.targets).sum()

    total = torch.func.grad(loss)(problem.function.parameters)
    flat = torch.cat([value.flatten() for value in total.values()])
    torch.testing.assert_close(gradients(problem).sum(dim=0), flat, rtol=1e-12, atol=1e-13)


def test_reduced_factor_has_one_row_less_than_classes_per_sample():
    model, x, y = architecture("convolution", 0, 4)
    assert reduced_factor(igsref.as_problem(model, (x, y))).shape[0] == 4 * 2
