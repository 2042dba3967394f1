"""Every kind of layer comes back as it was: outputs, gradients, and what is shared."""

import json

import pytest
import torch
from torch import nn

from igsref.vectors.description import KINDS, build, describe, named
from igsref.vectors.fields import Fields, VectorError
from tests.strategies import gaussian

SHARED = nn.Linear(4, 4)
NETWORKS = {
    "dense": (
        nn.Sequential(
            *(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4, bias=False), nn.LeakyReLU(0.3)),
            *(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Sigmoid()),
            *(nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 3)),
        ),
        (4,),
    ),
    "convolution": (
        nn.Sequential(
            nn.Conv2d(2, 4, (3, 2), (2, 1), (1, 0), (1, 2), groups=2),
            *(nn.BatchNorm2d(4, eps=0.01), nn.MaxPool2d((1, 2), 1), nn.AvgPool2d(2)),
            *(nn.Flatten(), nn.Linear(8, 3)),
        ),
        (2, 5, 7),
    ),
    "one axis": (
        nn.Sequential(nn.Conv1d(2, 3, 3, 2, 1), nn.BatchNorm1d(3, affine=False), nn.Flatten()),
        (2, 5),
    ),
    "tied": (nn.Sequential(SHARED, nn.Tanh(), SHARED, nn.Linear(4, 2)), (4,)),
}


def read(layers):
    """As it comes back from a file."""
    again = json.loads(json.dumps(layers))
    return [Fields.of(f"a.json: layers[{i}]", layer) for i, layer in enumerate(again)]


def example(name):
    model, shape = NETWORKS[name]
    for module in model.double().eval():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.copy_(gaussian(1, *module.running_mean.shape))
            module.running_var.copy_(gaussian(2, *module.running_var.shape).square())
    return model, gaussian(0, 6, *shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back(name):
    model, x = example(name)
    layers, tensors = describe(model)
    again = build(read(layers), tensors)
    assert not again.training
    assert torch.equal(again(x), model(x))
    own, theirs = list(again.parameters()), list(model.parameters())
    assert len(own) == len(theirs)
    gradients = [torch.autograd.grad(m(x).sum(), p) for m, p in ((again, own), (model, theirs))]
    assert all(map(torch.equal, *gradients))
    assert describe(again)[0] == layers
    assert named(read(layers)) == set(tensors)


def test_every_kind_is_tried():
    kinds = {layer["kind"] for name in NETWORKS for layer in describe(example(name)[0])[0]}
    assert kinds == set(KINDS)


def test_a_shared_tensor_is_there_once():
    layers, tensors = describe(example("tied")[0])
    assert layers[2] == layers[0] == {"kind": "linear", "weight": "0.weight", "bias": "0.bias"}
    assert sorted(tensors) == ["0.bias", "0.weight", "3.bias", "3.weight"]


def test_building_draws_no_random_numbers():
    layers, tensors = describe(example("dense")[0])
    before = torch.get_rng_state()
    build(read(layers), tensors)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Softplus(), r"layer 1 of model must be of a kind in \[.*\]; got Softplus"),
        (nn.GELU("tanh"), "layer 1 of model must be plain; it is GELU with approximate='tanh'"),
        (nn.Conv2d(1, 1, 1, padding_mode="circular"), "pads with padding_mode='circular'"),
    ],
)
def test_other_layers_are_not_described(module, message):
    with pytest.raises(ValueError, match=message):
        describe(nn.Sequential(nn.Linear(2, 2), module))


LINEAR = {"kind": "linear", "weight": "w", "bias": None}
CONVOLUTION = {
    **{"kind": "conv2d", "weight": "k", "bias": None, "groups": 1},
    **{"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]},
}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({}, r"kind must be one of \[.*'linear'.*\]; got None"),
        ({"kind": "softplus"}, "kind must be one of .*; got 'softplus'"),
        ({"kind": "linear", "weight": "w"}, "must have the field 'bias'"),
        ({**LINEAR, "stride": 1}, "got 'stride' too"),
        ({**LINEAR, "weight": None}, "weight must be a string; got None"),
        ({**LINEAR, "weight": "v"}, "weight must name a tensor of the file; got 'v', and there"),
        ({**LINEAR, "weight": "b"}, "the shapes must be those of a linear layer"),
        ({**LINEAR, "bias": "w"}, r"bias must have the shape \(2,\); got \(2, 3\)"),
        ({**CONVOLUTION, "weight": "w"}, "the weight must have 4 axes"),
        ({**CONVOLUTION, "groups": 2}, "the shapes must be those of a conv2d layer"),
        ({**CONVOLUTION, "groups": 0}, "groups must be an integer from 1 on; got int 0"),
        ({**CONVOLUTION, "stride": [1]}, "stride must be a list of 2 integers from 1 on"),
        ({"kind": "leaky_relu", "negative_slope": "x"}, "negative_slope must be a number"),
    ],
)
def test_malformed_layers_are_refused_by_name(layer, message):
    tensors = {"w": gaussian(0, 2, 3), "b": gaussian(1, 5), "k": gaussian(2, 3, 1, 2, 2)}
    with pytest.raises(VectorError, match=rf"(?s)^a\.json: layers\[0\].*{message}"):
        build(read([layer]), tensors)
