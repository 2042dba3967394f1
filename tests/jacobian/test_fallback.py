"""The loop over samples against vmap: the same rows."""

import pytest
import torch
from torch import nn

import igsref
from igsref.jacobian.fallback import looped_rows
from igsref.jacobian.rows import jacobian_rows
from tests.closeness import assert_rows_agree
from tests.jacobian.naive import every_logit
from tests.strategies import architecture, classes, gaussian, mlp


def looped(problem, cotangents, chosen):
    return looped_rows(problem, problem.function.parameters, chosen, cotangents[chosen])


@pytest.mark.parametrize("name", ["MLP with relu", "batch norm", "attention and embedding"])
def test_looped_rows_are_vmapped_rows(name):
    model, x, y = architecture(name, 7, 4)
    problem = igsref.as_problem(model, (x, y))
    K = gaussian(8, 4, 2, 3)
    assert_rows_agree(looped(problem, K, torch.arange(4)), jacobian_rows(problem, K))


def test_a_model_that_looks_at_values_has_the_rows_of_its_layers():
    model, x, y = architecture("refused by vmap", 7, 4)
    refused = igsref.as_problem(model, (x, y))
    with pytest.warns(RuntimeWarning, match=r"cannot be vmapped.*\.item\(\)"):
        rows = jacobian_rows(refused, every_logit(refused))
    accepted = igsref.as_problem(model.layers, (x, y))
    expected = jacobian_rows(accepted, every_logit(accepted))
    assert_rows_agree(rows, expected)


def test_chosen_samples_give_their_rows_in_the_order_asked_for():
    model = mlp(0, [3, 4, 2], nn.Tanh)
    problem = igsref.as_problem(model, (gaussian(1, 4, 3), classes(2, 4, 2)))
    K, chosen = gaussian(3, 4, 2, 2), torch.tensor([3, 0])
    expected = jacobian_rows(problem, K).view(4, 2, -1)[chosen].flatten(0, 1)
    assert_rows_agree(looped(problem, K, chosen), expected)


def test_a_parameter_out_of_use_has_zero_columns():
    def function(params, x):
        return x @ params["used"]

    params = {"used": gaussian(0, 3, 2), "unused": gaussian(1, 2)}
    problem = igsref.as_problem((function, params), (gaussian(2, 4, 3), classes(3, 4, 2)))
    rows = looped(problem, every_logit(problem), torch.arange(4))
    assert rows.shape == (8, 8)
    assert not rows[:, 6:].any()
    assert rows[:, :6].any()


def test_the_theta_of_the_problem_gathers_no_gradient():
    problem = igsref.as_problem(mlp(0, [3, 2], nn.Tanh), (gaussian(1, 4, 3), classes(2, 4, 2)))
    with torch.no_grad():
        looped(problem, every_logit(problem), torch.arange(4))
    for value in problem.function.parameters.values():
        assert not value.requires_grad
        assert value.grad is None
