"""One layer at a time: outputs and pulled-back cotangents as torch's, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import igsref
from igsref.exact import steps
from igsref.exact.arithmetic import RATIONALS
from igsref.exact.steps import Outer, is_rational, objection, step
from igsref.layers import sequential_layers
from tests.exact.networks import coarse, coarse_
from tests.linalg.exact import rational

SAMPLES, ROWS = 3, 2
LAYERS = {
    "Linear": (nn.Linear(3, 2), (3,)),
    "Linear with more axes": (nn.Linear(3, 2), (2, 2, 3)),
    "Linear, no bias": (nn.Linear(3, 2, bias=False), (3,)),
    "Conv1d": (nn.Conv1d(2, 3, 2), (2, 5)),
    "Conv1d, all settings": (
        nn.Conv1d(4, 6, 2, stride=2, padding=2, dilation=3, groups=2), (4, 6)
    ),
    "Conv2d": (nn.Conv2d(2, 3, 2, bias=False), (2, 3, 4)),
    "Conv2d, all settings": (
        nn.Conv2d(2, 4, (2, 3), stride=(1, 2), padding=(1, 0), dilation=(2, 1), groups=2),
        (2, 4, 5),
    ),
    "depthwise": (nn.Conv2d(3, 3, 2, groups=3), (3, 3, 3)),
    "one position": (nn.Conv2d(2, 3, 3), (2, 3, 3)),
    "AvgPool2d": (nn.AvgPool2d(2), (2, 5, 4)),
    "AvgPool2d that overlaps": (nn.AvgPool2d((2, 1), stride=1), (2, 3, 3)),
    "AvgPool2d without channels": (nn.AvgPool2d(2), (4, 5)),
    "MaxPool2d": (nn.MaxPool2d(2), (2, 5, 4)),
    "MaxPool2d that overlaps": (nn.MaxPool2d((2, 3), stride=(2, 1)), (2, 4, 5)),
    "MaxPool2d with gaps": (nn.MaxPool2d(2, stride=3), (1, 6, 5)),
    "MaxPool2d without channels": (nn.MaxPool2d((1, 2)), (3, 4)),
    "Flatten": (nn.Flatten(), (2, 3, 2)),
    "Identity": (nn.Identity(), (2, 3)),
    "Dropout": (nn.Dropout(0.5).eval(), (3,)),
    "ReLU": (nn.ReLU(), (2, 3)),
    "LeakyReLU": (nn.LeakyReLU(0.25), (2, 3)),
}  # fmt: skip


def same(array, tensor):
    """Equal entry by entry, over the rationals, and of one shape."""
    expected = rational(tensor.detach().reshape(1, -1)).entries()
    return array.shape == tuple(tensor.shape) and list(array.flat) == expected


def taken(name, seed):
    """The layer in torch, its inputs, and the step in rationals."""
    module, shape = LAYERS[name]
    module = coarse_(module.double(), seed)
    x = coarse(seed + 7, SAMPLES, *shape).requires_grad_(True)
    (layer,) = sequential_layers(nn.Sequential(module))
    theta = {f"0.{key}": value.detach() for key, value in module.named_parameters()}
    return module, x, step(layer, RATIONALS, theta, RATIONALS.array(x.detach()))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_and_its_way_back_are_torch_s_without_rounding(name, seed):
    module, x, found = taken(name, seed)
    value = module(x)
    assert same(found.value, value)
    delta = coarse(seed + 9, SAMPLES, ROWS, *value.shape[1:])
    below, gradients = found.pull(RATIONALS.array(delta))
    names = [f"0.{key}" for key, _ in module.named_parameters()]
    assert set(gradients) == set(names)
    for sample in range(SAMPLES):
        for row in range(ROWS):
            cotangent = torch.zeros_like(value)
            cotangent[sample] = delta[sample, row]
            wanted = [x, *module.parameters()]
            pulled, *own = torch.autograd.grad(value, wanted, cotangent, retain_graph=True)
            assert same(below[sample, row], pulled[sample])
            for key, gradient in zip(names, own, strict=True):
                explicit = gradients[key]
                explicit = explicit.explicit() if isinstance(explicit, Outer) else explicit
                assert same(explicit[sample, row], gradient.flatten())


@pytest.mark.parametrize("name", ["MaxPool2d", "MaxPool2d that overlaps"])
def test_of_equal_largest_entries_the_first_is_taken_as_torch_does(name):
    module, shape = LAYERS[name]
    x = torch.zeros(1, *shape, dtype=torch.float64, requires_grad=True)
    value = module(x)
    (pulled,) = torch.autograd.grad(value.sum(), x)
    (layer,) = sequential_layers(nn.Sequential(module))
    found = step(layer, RATIONALS, {}, RATIONALS.zeros(1, *shape))
    ones = RATIONALS.array(torch.ones(1, 1, *value.shape[1:]).double())
    below, _ = found.pull(ones)
    assert same(below[0], pulled)
    assert 0 < int(pulled.count_nonzero()) < pulled.numel()


def test_outer_products_need_not_be_multiplied_out():
    delta, inputs = coarse(0, 4, 2, 3), coarse(1, 4, 5)
    outer = Outer(RATIONALS.array(delta), RATIONALS.array(inputs))
    rows = outer.explicit().reshape(8, 15)
    assert same(rows, (delta[..., None] * inputs[:, None, None]).reshape(8, 15))
    assert (outer.gram(RATIONALS) == RATIONALS.matmul(rows, rows.T)).all()


def test_a_weight_met_once_stays_an_outer_product():
    for name in ("Linear", "one position"):
        _, _, found = taken(name, 0)
        one = RATIONALS.array(torch.ones(SAMPLES, ROWS, *found.value.shape[1:]).double())
        _, gradients = found.pull(one)
        assert isinstance(gradients["0.weight"], Outer), name


# What is refused.

REFUSED = {
    "circular padding": (
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
        "pads with padding_mode='circular', not with zeros",
    ),
    "padding in words": (
        nn.Conv1d(1, 1, 3, padding="same"), "has padding='same', not a number"
    ),
    "flatten in part": (nn.Flatten(2), "flattens from 2 to -1, not from 1 to −1"),
    "flatten to the middle": (nn.Flatten(1, 2), "flattens from 1 to 2, not from 1 to −1"),
    "approximate GELU": (
        nn.GELU("tanh"), "is GELU with approximate='tanh', not 'none'"
    ),
    "no statistics": (
        nn.BatchNorm1d(2, track_running_stats=False), "has no running statistics"
    ),
    "padded pool": (nn.MaxPool2d(2, padding=1), "pools with padding, dilation, ceil_mode"),
    "padded average": (nn.AvgPool2d(2, padding=(1, 0)), "pools with padding"),
    "dilated pool": (nn.MaxPool2d(2, dilation=(1, 2)), "pools with padding, dilation"),
    "rounded up": (nn.AvgPool2d(2, ceil_mode=True), "pools with padding, dilation, ceil_mode"),
    "divisor": (nn.AvgPool2d(2, divisor_override=3), "or another divisor"),
    "indices": (nn.MaxPool2d(2, return_indices=True), "pools with"),
    **{
        type(module).__name__: (module, "has no exact arithmetic")
        for module in (
            *(nn.Softplus(), nn.ELU(), nn.ReLU6(), nn.Hardtanh(), nn.LayerNorm(2)),
            *(nn.Conv3d(1, 1, 1), nn.MaxPool1d(2), nn.AdaptiveAvgPool2d(1), nn.Softsign()),
            *(nn.BatchNorm3d(1), nn.ConvTranspose2d(1, 1, 1), nn.Bilinear(1, 1, 1)),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_of_another_kind_is_refused_with_the_reason(name):
    module, reason = REFUSED[name]
    found = objection(module)
    assert found is not None and reason in found


def test_a_subclass_may_compute_something_else():
    class Other(nn.ReLU):
        pass

    assert objection(Other()) == "has no exact arithmetic"


@pytest.mark.parametrize("name", LAYERS)
def test_the_layers_tested_here_are_supported_and_rational(name):
    module, _ = LAYERS[name]
    assert objection(module) is None
    assert is_rational(module)


@pytest.mark.parametrize(
    "module",
    [nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.GELU(), nn.BatchNorm1d(2), nn.BatchNorm2d(2)],
    ids=lambda module: type(module).__name__,
)
def test_others_are_supported_in_balls_only(module):
    assert objection(module) is None
    assert not is_rational(module)


def test_running_statistics_are_those_of_the_model():
    """Changed afterwards, they change logits; a problem sees its own copy of the parameters."""
    norm = nn.BatchNorm1d(2).double().eval()
    norm.running_mean.fill_(0.5)
    model = nn.Sequential(norm, nn.Linear(2, 2).double())
    certified = igsref.certify(model, (coarse(0, 3, 2), torch.tensor([0, 1, 0])), digits=12)
    result = igsref.exact_igs(model, (coarse(0, 3, 2), torch.tensor([0, 1, 0])))
    assert float(certified.lower) == pytest.approx(result.value, rel=1e-9)
    assert np.isfinite(float(certified.upper))


class OnTheCpu(TorchFunctionMode):
    """Refuses tensors that are elsewhere, of which "meta" stands for all."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert not any(isinstance(a, torch.Tensor) and a.device.type != "cpu" for a in args)
        return function(*args, **(kwargs or {}))


def test_what_a_layer_reads_does_not_depend_on_where_its_weights_are():
    settings = {"stride": 2, "padding": 1, "groups": 2}
    here, there = (nn.Conv2d(2, 4, 3, **settings, device=device) for device in ("cpu", "meta"))
    with OnTheCpu():
        found, spatial = steps._reads(there, (2, 5, 4))
    expected = steps._reads(here, (2, 5, 4))
    assert spatial == expected[1] == (3, 2)
    assert all((a == b).all() for a, b in zip(found, expected[0], strict=True))
