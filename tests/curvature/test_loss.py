"""The training loss as a function of θ."""

import pytest
import torch
from torch import nn

from igsref import as_problem
from igsref.curvature.factor import gradients
from igsref.curvature.loss import loss_gradient, loss_of_vector, parameter_vector, sample_losses
from tests.strategies import classes, gaussian, mlp


def problem(**options):
    model = mlp(0, [3, 4, 3], nn.Tanh)
    return as_problem(model, (gaussian(1, 7, 3), classes(2, 7, 3)), **options)


def test_losses_are_the_cross_entropy():
    given = problem()
    labels = given.targets.argmax(dim=1)
    expected = nn.functional.cross_entropy(given.labelled_logits, labels, reduction="none")
    actual = sample_losses(given, given.function.parameters)
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("pool", [None, gaussian(5, 4, 3)])
def test_gradient_is_the_mean_of_the_samples_gradients(pool):
    given = problem(fisher_data=pool)
    expected = gradients(given).mean(dim=0)
    torch.testing.assert_close(loss_gradient(given), expected, rtol=1e-12, atol=1e-14)


def test_loss_of_the_vector_is_the_mean():
    given = problem()
    mean = sample_losses(given, given.function.parameters).mean()
    assert float(loss_of_vector(given)(parameter_vector(given))) == float(mean)
