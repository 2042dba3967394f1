"""Casts that lose float64's digits are found wherever they are, and no others."""

import pytest
import torch
from torch import nn

from igsref import as_problem
from igsref.curvature.hessian_operator import hessian_operator
from igsref.curvature.kfac import ekfac
from igsref.curvature.operators import factor_operator
from igsref.precision import RefuseLowerPrecision, full_float32

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


@pytest.fixture
def backends():
    """Those with a float32 that may be shorter, set as a user may set them, and put back."""
    found = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul]
    before = [backend.fp32_precision for backend in found]
    for backend in found:
        backend.fp32_precision = "tf32"
    yield found
    for backend, precision in zip(found, before, strict=True):
        backend.fp32_precision = precision


def test_float32_is_float32_for_as_long_as_it_is_asked_for(backends):
    with pytest.raises(KeyError), full_float32():
        assert [backend.fp32_precision for backend in backends] == ["ieee"] * 3
        assert torch.backends.cudnn.deterministic
        raise KeyError
    assert [backend.fp32_precision for backend in backends] == ["tf32"] * 3
    assert not torch.backends.cudnn.deterministic


def test_products_and_preconditioners_are_made_of_full_float32(backends):
    seen = set()

    class Watching(nn.Linear):
        def forward(self, x):
            seen.update(backend.fp32_precision for backend in backends if x.dtype == torch.float32)
            return super().forward(x)

    problem = as_problem(Watching(3, 3), (X, torch.tensor([0, 2])))
    factor_operator(problem, dtype=torch.float32)
    hessian_operator(problem, dtype=torch.float32).product(torch.ones(12, 1).double())
    ekfac(problem, dtype=torch.float32)
    assert seen == {"ieee"}
