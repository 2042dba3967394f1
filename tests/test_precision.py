"""Casts that lose float64's digits are found wherever they are, and no others."""

import pytest
import torch
from torch import nn

from igsref.precision import RefuseLowerPrecision

X = torch.linspace(0, 1, 6, dtype=torch.float64).view(2, 3)


class Cast(nn.Module):
    def forward(self, x):
        return (2 * x).float().double()


LOSSES = {
    "a cast": lambda x: x.exp().float(),
    "a cast of a view": lambda x: x[:1].to(torch.bfloat16),
    "a copy": lambda x: torch.zeros(2, 3, dtype=torch.float32).copy_(x),
    "an entry": lambda x: torch.zeros(3, 3, dtype=torch.float32).index_copy_(
        0, torch.tensor([0, 1]), x.float()
    ),
    "a softmax": lambda x: x.softmax(dim=1, dtype=torch.float32),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_what_follows_from_the_tensors_must_stay_in_float64(loss):
    with RefuseLowerPrecision([X]), pytest.raises(TypeError, match="it loses digits"):
        loss(X)


def test_the_module_is_named():
    with RefuseLowerPrecision([X]), pytest.raises(TypeError, match="; Cast turns values of shape"):
        nn.Sequential(Cast())(X)


KEPT = {
    "a constant": lambda x: x * torch.ones(3, dtype=torch.float64).float().double(),
    "integers": lambda x: x * x.argmax(dim=1, keepdim=True).float(),
    "a fresh tensor": lambda x: x + torch.zeros_like(x, dtype=torch.float32),
    "a comparison": lambda x: x * (x > 0),
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_constants_may_have_any_type(kept):
    with RefuseLowerPrecision([X]):
        assert kept(X).dtype == torch.float64
