"""Rows of derivatives that are refused, or that a word is said about."""

import warnings

import pytest
import torch
from torch import nn

import igsref
from igsref.geometry.checks import check_rows, warn_of_no_derivative
from tests.strategies import gaussian, mlp


@pytest.fixture(scope="module")
def problem():
    model = mlp(0, [2, 3, 3], nn.Tanh)
    return igsref.as_problem(model, (gaussian(1, 4, 2), torch.tensor([0, 1, 2, 0])))


def block(row, column, value, columns=8):
    rows = torch.zeros(8, columns).double()
    rows[row, column] = value
    return rows


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("start", "row", "column", "place"),
    [
        (0, 0, 0, r"sample 0 by 0\.weight\[0\]"),
        (0, 5, 7, r"sample 2 by 0\.bias\[1\]"),
        (9, 7, 0, r"sample 3 by 2\.weight\[0\]"),
        (4, 3, 5, r"sample 1 by 2\.weight\[0\]"),
    ],
)
def test_a_derivative_that_is_not_finite_is_named(problem, value, start, row, column, place):
    with pytest.raises(ValueError, match=rf"those of {place} \(flattened\) are not \(1 of 64"):
        check_rows(problem, block(row, column, value), start)


def test_finite_derivatives_whose_sum_overflows_pass(problem):
    check_rows(problem, torch.full((8, 8), 1e308, dtype=torch.float64), 0)


def test_a_word_is_said_where_every_derivative_is_zero():
    with pytest.warns(RuntimeWarning, match="every derivative is 0, and so is the IGS"):
        warn_of_no_derivative(torch.zeros(3, 2).double())


def test_no_word_is_said_of_a_single_derivative():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_no_derivative(block(7, 7, 5e-324))
