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


def settings():
    backends = torch.backends
    parts = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    parts += [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    cudnn = backends.cudnn
    return [part.fp32_precision for part in parts], (cudnn.benchmark, cudnn.deterministic)


def legacy():
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.deterministic = True


def newer():
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # beside an rnn in tf32
    torch.backends.cudnn.benchmark = True


def parent():
    torch.backends.fp32_precision = "tf32"
    torch.backends.mkldnn.conv.fp32_precision = "none"


@pytest.fixture
def put_back():
    """Everything that the choices below change, as torch has it at the start."""
    yield
    torch.backends.fp32_precision = "none"
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    for part in (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv):
        part.fp32_precision = "none"
    torch.backends.cuda.matmul.fp32_precision = "none"
    torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize("choice", [lambda: None, legacy, newer, parent])
@pytest.mark.usefixtures("put_back")
def test_float32_is_float32_for_as_long_as_it_is_asked_for(choice):
    choice()
    before = settings()
    with pytest.raises(KeyError), full_float32():
        assert settings() == (["ieee"] * 6, (False, True))
        # Older flags can be read and set inside, as some models do.
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        with torch.backends.cudnn.flags(enabled=False):
            pass
        raise KeyError
    assert settings() == before


@pytest.mark.usefixtures("put_back")
def test_what_followed_its_parent_follows_it_afterwards():
    parent()
    with full_float32():
        pass
    assert torch.backends.mkldnn.conv.fp32_precision == "tf32"
    torch.backends.fp32_precision = "ieee"
    assert torch.backends.mkldnn.conv.fp32_precision == "ieee"


@pytest.mark.usefixtures("put_back")
def test_products_and_preconditioners_are_made_of_full_float32():
    legacy()
    seen = set()

    class Watching(nn.Linear):
        def forward(self, x):
            if x.dtype == torch.float32:
                seen.update(settings()[0])
            return super().forward(x)

    problem = as_problem(Watching(3, 3), (X, torch.tensor([0, 2])))
    factor_operator(problem, dtype=torch.float32)
    hessian_operator(problem, dtype=torch.float32).product(torch.ones(12, 1).double())
    ekfac(problem, dtype=torch.float32)
    assert seen == {"ieee"}
