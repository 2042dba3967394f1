"""Columns some at a time: the ranges make up θ, the blocks side by side the rows."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.jacobian import rows
from igsref.jacobian.columns import column_blocks, column_ranges, restricted
from igsref.jacobian.rows import jacobian_rows
from tests.closeness import assert_rows_agree
from tests.jacobian.naive import every_logit
from tests.strategies import ARCHITECTURES, SEEDS, architecture, classes, gaussian, mlp


@pytest.fixture(autouse=True)
def _no_warning_of_the_loop():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "model cannot be vmapped", RuntimeWarning)
        yield


def problem_of(sizes: list[int]) -> igsref.Problem:
    """A problem whose θ has tensors of these sizes."""
    params = {f"w{i}": gaussian(i, size) for i, size in enumerate(sizes)}

    def network(params, x):
        total = sum(value.sum() for value in params.values())
        return torch.cat([x, x * total], dim=1)

    return igsref.as_problem((network, params), (gaussian(1, 2, 1), classes(2, 2, 2)))


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6), width=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_ranges_cover_every_column_once_in_order(sizes, width):
    ranges = column_ranges(problem_of([*sizes, 1]), width)
    covered = [column for start, stop in ranges for column in range(start, stop)]
    assert covered == list(range(sum(sizes) + 1))
    assert all(0 < stop - start <= width for start, stop in ranges)


@pytest.mark.parametrize(
    ("sizes", "width", "expected"),
    [
        ([3, 4, 5], 100, [(0, 12)]),
        ([3, 4, 5], 12, [(0, 12)]),
        ([3, 4, 5], 11, [(0, 7), (7, 12)]),
        ([3, 4, 5], 4, [(0, 3), (3, 7), (7, 11), (11, 12)]),
        ([9, 2], 4, [(0, 4), (4, 8), (8, 11)]),
        ([2, 9], 4, [(0, 2), (2, 6), (6, 10), (10, 11)]),
        ([3], 1, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_whole_tensors_share_a_range_and_larger_ones_are_cut(sizes, width, expected):
    assert column_ranges(problem_of(sizes), width) == expected


def test_a_restricted_problem_holds_the_tensors_that_are_touched_and_no_others():
    problem = problem_of([3, 4, 5])
    part, columns = restricted(problem, 2, 5)
    assert list(part.function.parameters) == ["w0", "w1"]
    assert torch.equal(part.function.constants["w2"], problem.function.parameters["w2"])
    assert (columns.start, columns.stop) == (2, 5)
    part, columns = restricted(problem, 4, 7)
    assert list(part.function.parameters) == ["w1"]
    assert (columns.start, columns.stop) == (1, 4)
    assert torch.equal(part.at(part.function.parameters), problem.logits)
    assert list(problem.function.parameters) == ["w0", "w1", "w2"]


def side_by_side(problem: igsref.Problem, cotangents: torch.Tensor, width: int) -> torch.Tensor:
    blocks = list(column_blocks(problem, cotangents, column_ranges(problem, width)))
    assert all(0 < block.shape[1] <= width for block in blocks)
    return torch.cat(blocks, dim=1)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, width=st.integers(1, 60))
def test_blocks_side_by_side_are_the_rows_bit_by_bit(seed, width):
    """A perceptron's derivatives by one tensor do not depend on which others are asked for."""
    model = mlp(seed, [3, 5, 4, 3], nn.Tanh)
    problem = igsref.as_problem(model, (gaussian(seed + 1, 4, 3), classes(seed + 2, 4, 3)))
    K = problem.likelihood.contrast(problem.logits)
    assert torch.equal(side_by_side(problem, K, width), jacobian_rows(problem, K))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("width", [1000, 19, 3])
def test_blocks_of_every_architecture_are_the_rows(name, width):
    model, x, y = architecture(name, 1, 3)
    problem = igsref.as_problem(model, (x, y))
    J = every_logit(problem)
    # A graph for fewer parameters may sum in another order.
    assert_rows_agree(side_by_side(problem, J, width), jacobian_rows(problem, J))


def test_a_tied_weight_is_one_block_of_columns_with_all_its_uses():
    model, x, y = architecture("tied weights", 1, 3)
    problem = igsref.as_problem(model, (x, y))
    assert sum(name.endswith("coder.weight") for name in problem.function.parameters) == 1
    part, columns = restricted(problem, 0, 16)
    assert list(part.function.parameters) == ["encoder.weight"]
    J = every_logit(problem)
    assert_rows_agree(
        jacobian_rows(part, J, columns=columns), jacobian_rows(problem, J)[:, :16], multiple=8
    )


@pytest.mark.parametrize("patterns", ["2.*", ["0.bias", "4.weight"]])
def test_a_subset_of_the_parameters_comes_in_blocks_of_its_own(patterns):
    model, x, y = architecture("MLP with gelu", 1, 3)
    problem = igsref.as_problem(model, (x, y), parameters=patterns)
    K = problem.likelihood.contrast(problem.logits)
    blocks = side_by_side(problem, K, 7)
    assert blocks.shape[1] == problem.num_parameters < problem.function.full_parameter_count
    assert torch.equal(blocks, jacobian_rows(problem, K))


def test_a_model_that_vmap_refuses_is_warned_of_once_for_all_blocks():
    model, x, y = architecture("refused by vmap", 1, 3)
    problem = igsref.as_problem(model, (x, y))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        side_by_side(problem, every_logit(problem), 5)
    assert ["cannot be vmapped" in str(word.message) for word in caught] == [True]
    assert problem.function.source in rows._refused


def test_blocks_hold_the_rows_of_a_pool():
    model, x, y = architecture("MLP with tanh", 1, 3)
    problem = igsref.as_problem(model, (x, y), fisher_data=gaussian(7, 5, 3))
    K = problem.likelihood.contrast(problem.logits)
    blocks = side_by_side(problem, K, 11)
    assert len(blocks) == 8 * 2
    assert torch.equal(blocks, jacobian_rows(problem, K))
