"""Portions of the samples, in the dtype of the work and within a budget."""

from dataclasses import replace

import pytest
import torch

import igsref
from igsref.curvature.kfac import chunks
from igsref.curvature.kfac.chunks import in_dtype, source
from igsref.curvature.kfac.layers import kronecker_layers
from tests.closeness import EPS, assert_within
from tests.curvature.kfac.cases import problem_of
from tests.strategies import classes, gaussian, mlp


def source_of(problem, budget=2**30, samples=None, dtype=torch.float64):
    samples = torch.arange(problem.pool_size) if samples is None else samples
    function = in_dtype(problem.function, dtype)
    return source(problem, samples, kronecker_layers(function), function, budget)


def test_rows_have_the_output_metric_and_the_chosen_inputs(monkeypatch):
    monkeypatch.setattr(chunks, "_LARGEST_CHUNK", 2)
    problem, samples = problem_of("MLP", 7), torch.tensor([6, 0, 2, 2, 4])
    parts = list(source_of(problem, samples=samples).chunks("test"))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(
        torch.cat([part.problem.samples.args[0] for part in parts]),
        problem.samples.args[0][samples],
    )
    rows = torch.cat([part.cotangents for part in parts])
    expected = problem.likelihood.metric(problem.logits)[samples]
    assert rows.shape == (5, 2, 3)
    assert_within(rows.mT @ rows, expected, 32 * EPS)


def test_work_in_single_precision_has_inputs_rows_and_theta_in_it():
    problem = problem_of("tokens, in place")
    (part,) = source_of(problem, dtype=torch.float32).chunks("test")
    theta = part.problem.function.parameters
    tensors = [part.problem.samples.args[0], part.cotangents, part.problem.logits, *theta.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    exact = next(source_of(problem).chunks("test")).cotangents
    assert torch.equal(part.cotangents, exact.float())


def test_another_dtype_keeps_the_theta_and_constants_that_a_problem_has():
    problem = problem_of("batch norm")
    moved = {name: value + 1 for name, value in problem.function.parameters.items()}
    constants = {name: value + 2 for name, value in problem.function.constants.items()}
    function = in_dtype(
        replace(problem.function, parameters=moved, constants=constants), torch.float32
    )
    for name, value in {**moved, **constants}.items():
        found = {**function.parameters, **function.constants}[name]
        assert torch.equal(found, value.float())
    assert in_dtype(problem.function, torch.float64) is problem.function


def test_integer_inputs_stay_integers():
    model = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 2)).double()
    model.append(torch.nn.Flatten()).append(torch.nn.Linear(4, 3).double())
    problem = igsref.as_problem(model, (classes(1, 8, 5).view(4, 2), classes(2, 4, 3)))
    (part,) = source_of(problem, dtype=torch.float32).chunks("test")
    assert part.problem.samples.args[0].dtype == torch.int64


def test_a_smaller_budget_makes_smaller_chunks():
    problem = problem_of("two convolutions, no bias")
    assert source_of(problem).size > 100
    sizes = [source_of(problem, budget).size for budget in (2**20, 2**18, 2**16)]
    assert sizes == sorted(sizes, reverse=True)
    assert 1 <= sizes[-1] < sizes[0] < 513
    single = source_of(problem, 2**18, dtype=torch.float32).size
    assert sizes[1] < single <= 2 * sizes[1] + 1


def test_rows_go_one_by_one_where_not_even_a_sample_has_room():
    model = mlp(1, [3, 200, 100], torch.nn.Tanh)
    problem = igsref.as_problem(model, (gaussian(2, 4, 3), classes(3, 4, 100)))
    assert source_of(problem).group == 16
    # All 16 rows do not fit into half of what one row, and a layer's matrix, need.
    tight = source_of(problem, 200_000)
    assert (tight.size, tight.group) == (1, 1)
    with pytest.raises(MemoryError, match=r"one sample.* needs .*KiB, and 100.0 KiB is there"):
        source_of(problem, 100 * 1024)
