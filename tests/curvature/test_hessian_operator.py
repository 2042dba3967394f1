"""H V beside the dense Hessian."""

from dataclasses import replace

import pytest
import torch

import igsref
from igsref.curvature.hessian_operator import hessian_operator
from tests.measures.test_matrixfree import convolutional, labelled, perceptron


@pytest.mark.parametrize(
    "model, data",
    [
        (perceptron(0, 3, 5, 3), labelled(0, 7, (3,), 3)),
        (convolutional(0), labelled(0, 7, (1, 6, 6), 3)),
        (torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)),
         labelled(0, 7, (3,), 2)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype, allowed", [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_agrees_with_the_dense_hessian(model, data, dtype, allowed):
    problem = igsref.as_problem(model, data)
    operator = replace(hessian_operator(problem, dtype=dtype), batch=3)
    V = torch.randn(problem.num_parameters, 2, dtype=torch.float64)
    H = igsref.hessian(problem)
    error = float((operator.product(V) - H @ V).abs().max())
    assert error <= allowed * float(H.norm() * V.norm())


def test_a_pool_has_no_part_in_it():
    data = labelled(0, 7, (3,), 3)
    model = perceptron(0, 3, 5, 3)
    pool = labelled(1, 20, (3,), 3)[0]
    problem = igsref.as_problem(model, data, fisher_data=pool)
    v = torch.ones(problem.num_parameters, 1, dtype=torch.float64)
    found = hessian_operator(problem).product(v)
    torch.testing.assert_close(found, igsref.hessian(model, data) @ v)
