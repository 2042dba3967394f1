"""Batches by memory, and logits of some samples in another dtype."""

import pytest
import torch

import igsref
from igsref.curvature import batches
from igsref.curvature.batches import batch_logits, batch_size, function_in
from tests.measures.test_matrixfree import labelled, perceptron

PROBLEM = igsref.as_problem(perceptron(0, 3, 40, 3), labelled(0, 9, (3,), 3))


def test_more_copies_and_less_memory_make_smaller_batches(monkeypatch):
    assert batch_size(PROBLEM, torch.float64, 1) == 1024  # the largest there is
    monkeypatch.setattr(batches, "available_memory", lambda device: 4 * 100_000)
    whole = batch_size(PROBLEM, torch.float64, 4)
    assert 1 < whole < 1024
    # Of a quarter of what is free, to the nearest whole number of samples below.
    assert batch_size(PROBLEM, torch.float64, 8) == pytest.approx(whole / 2, abs=1)
    assert batch_size(PROBLEM, torch.float32, 4) == pytest.approx(whole * 2, abs=1)
    monkeypatch.setattr(batches, "available_memory", lambda device: 0)
    assert batch_size(PROBLEM, torch.float64, 1) == 1


def test_the_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    batch_size(PROBLEM, torch.float64, 1)
    assert torch.random.get_rng_state().equal(before)


@pytest.mark.parametrize("dtype, allowed", [(torch.float64, 0.0), (torch.float32, 1e-5)])
def test_logits_of_some_samples_in_a_dtype(dtype, allowed):
    function = function_in(PROBLEM, dtype)
    assert (function is PROBLEM.function) == (dtype == torch.float64)
    some = torch.tensor([7, 2])
    found = batch_logits(PROBLEM, function, function.parameters, some)
    assert found.dtype == dtype
    expected = PROBLEM.logits[some]
    # One dtype differs by the order of sums in another batch; the other by its eps.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=allowed + 1e-14)
