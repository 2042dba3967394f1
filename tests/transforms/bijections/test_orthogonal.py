"""Orthogonal maps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from igsref.transforms.bijections import Householder, Orthogonal
from tests.closeness import EPS, assert_within
from tests.strategies import SEEDS, gaussian


@settings(max_examples=30)
@given(m=st.integers(1, 60), seed=SEEDS)
def test_every_householder_qr_is_taken(m, seed):
    Orthogonal(torch.linalg.qr(gaussian(seed, m, m)).Q)


@pytest.mark.parametrize("m", [2, 30])
def test_what_is_orthogonal_in_float32_only_is_refused(m):
    with pytest.raises(ValueError, match="matrix must be orthogonal in float64"):
        Orthogonal(torch.linalg.qr(gaussian(0, m, m)).Q.float())
    with pytest.raises(ValueError, match="matrix must be square"):
        Orthogonal(gaussian(0, 3, 2))


@settings(max_examples=30)
@given(seed=SEEDS, k=st.integers(1, 5), log_size=st.integers(-200, 200))
def test_reflections_are_orthogonal_whatever_their_vectors_lengths(seed, k, log_size):
    matrix = Householder(10.0**log_size * gaussian(seed, k, 5)).jacobian(torch.zeros(5).double())
    # k reflections, each of 2·5 products and as many sums.
    assert_within(matrix @ matrix.mT, torch.eye(5).double(), 32 * k * EPS)


def test_reflections_act_first_to_last():
    swap = torch.tensor([[1.0, -1.0], [1.0, 0.0]]).double()
    theta = torch.tensor([3.0, 5.0]).double()
    # (3, 5) → swapped (5, 3) → first entry's sign changed.
    expected = torch.tensor([-5.0, 3.0]).double()
    assert_within(Householder(swap).forward(theta), expected, 32 * EPS)


def test_a_zero_vector_is_refused():
    with pytest.raises(ValueError, match="vectors must hold no zero row"):
        Householder(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
