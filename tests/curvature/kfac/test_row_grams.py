"""Gram matrices of samples' own rows under a power of EKFAC, against the dense rows."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.factor import reduced_factor
from igsref.curvature.kfac import chunks, ekfac, row_grams
from tests.closeness import assert_within
from tests.curvature.kfac.cases import AGREEMENT, KRONECKER, problem_of
from tests.strategies import architecture, classes, fill_, gaussian, mlp

DAMPING = 1e-3
EXPONENT = -0.5
ROWED = ("batch norm", "layer norm", "tied weights", "attention and embedding")
"""Networks some of whose tensors have no Kronecker eigenbasis."""


def dense(problem, approximation):
    """A_i T² A_iᵀ, from rows of A T, each of length 1 while T, in its own dtype, acts on it."""
    factor = reduced_factor(problem)
    lengths = factor.norm(dim=1)
    powered = approximation.power((factor / lengths[:, None]).mT, EXPONENT, DAMPING) * lengths
    rows = powered.mT.view(problem.pool_size, problem.rows_per_sample, -1)
    return rows @ rows.mT


def assert_grams(found, expected, share):
    """Each entry to a share of the lengths of its two rows."""
    lengths = expected.diagonal(dim1=1, dim2=2).sqrt()
    assert_within(found, expected, share * lengths[:, :, None] * lengths[:, None, :])


def rowed(name):
    model, x, y = architecture(name, 1, 5)
    return igsref.as_problem(model, (x, y))


@pytest.mark.parametrize("name", [*KRONECKER, *(f"{name}, rows" for name in ROWED)])
def test_they_are_those_of_the_dense_rows(name):
    problem = rowed(name.removesuffix(", rows")) if name.endswith("rows") else problem_of(name)
    approximation = ekfac(problem)
    found = row_grams(problem, approximation, EXPONENT, DAMPING)
    assert_grams(found, dense(problem, approximation), AGREEMENT)


@pytest.mark.parametrize("limit", [1, 3000])
def test_so_they_are_in_little_memory_and_for_chosen_samples(limit, monkeypatch):
    problem = rowed("batch norm")
    approximation = ekfac(problem)
    expected = dense(problem, approximation)
    monkeypatch.setattr(chunks, "_CHUNK_BYTES", limit)
    chosen = torch.tensor([3, 0, 4])
    found = row_grams(problem, approximation, EXPONENT, DAMPING, samples=chosen)
    assert_grams(found, expected[chosen], AGREEMENT)


def test_more_rows_than_are_differentiated_together_elsewhere():
    model = mlp(1, [3, 6, 20], nn.Tanh)
    problem = igsref.as_problem(model, (gaussian(2, 3, 3), classes(3, 3, 20)))
    assert problem.rows_per_sample > chunks._LARGEST_GROUP
    approximation = ekfac(problem)
    found = row_grams(problem, approximation, EXPONENT, DAMPING)
    assert_grams(found, dense(problem, approximation), AGREEMENT)


def test_in_float32_they_are_those_of_confident_samples_too():
    x = gaussian(2, 5, 3)
    x[1] *= 250  # the others keep EKFAC alive
    problem = igsref.as_problem(fill_(nn.Linear(3, 3).double(), 1), (x, classes(3, 5, 3)))
    approximation = ekfac(problem, dtype=torch.float32)
    expected = dense(problem, approximation)
    # Rows √p K J of which float32 has no digit.
    lengths = reduced_factor(problem).view(5, 2, -1).norm(dim=2)
    assert float(lengths[1].min()) < 1e-46
    assert float(expected[1].diagonal().min()) > 0
    found = row_grams(problem, approximation, EXPONENT, DAMPING)
    assert found.dtype == torch.float64
    # Products of some six float32 factors in sums of tens of terms.
    assert_grams(found, expected, 100 * torch.finfo(torch.float32).eps)


def test_without_the_memory_for_one_sample_the_sizes_are_said():
    problem = problem_of("MLP")
    approximation = ekfac(problem)
    with pytest.raises(MemoryError, match=r"one sample.* needs .*B, and 100 B is there"):
        row_grams(problem, approximation, EXPONENT, DAMPING, memory=100)
