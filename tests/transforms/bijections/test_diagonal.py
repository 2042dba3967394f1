"""Scaling each parameter."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from igsref.transforms.bijections import Diagonal
from tests.strategies import gaussian


@given(powers=st.lists(st.integers(-60, 60), min_size=1, max_size=5))
def test_powers_of_two_lose_nothing(powers):
    bijection = Diagonal(2.0 ** torch.tensor(powers, dtype=torch.float64))
    theta = gaussian(0, len(powers))
    assert torch.equal(bijection.inverse(bijection.forward(theta)), theta)


@pytest.mark.parametrize("bad", [0.0, 1e-310])
def test_a_factor_without_inverse_is_refused(bad):
    with pytest.raises(ValueError, match=r"scale must hold no zero.*scale\[1\]"):
        Diagonal(torch.tensor([1.0, bad], dtype=torch.float64))


def test_infinite_factors_are_refused():
    with pytest.raises(ValueError, match="scale must be finite"):
        Diagonal(torch.tensor([1.0, torch.inf]))
