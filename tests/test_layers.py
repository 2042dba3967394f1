"""The layers of sequential networks, and what is none."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from igsref.layers import sequential_layers
from igsref.model import logit_function


def test_nested_sequences_are_read_in_order_with_names():
    inner = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh())
    layers = sequential_layers(nn.Sequential(nn.Flatten(), inner, nn.Linear(4, 2)))
    assert layers is not None
    assert [type(layer.module) for layer in layers] == [nn.Flatten, nn.Linear, nn.Tanh, nn.Linear]
    assert [(layer.weight, layer.bias) for layer in layers] == [
        (None, None),
        ("1.0.weight", None),
        (None, None),
        ("2.weight", "2.bias"),
    ]


def test_a_single_layer_and_a_layer_used_twice():
    single = sequential_layers(nn.Linear(2, 3))
    assert single is not None and [layer.weight for layer in single] == ["weight"]
    twice = nn.Linear(3, 3)
    layers = sequential_layers(nn.Sequential(twice, nn.ReLU(), twice))
    assert layers is not None and layers[0].weight == layers[2].weight == "0.weight"


class Own(nn.Linear):
    pass


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return 2 * self.layer(x)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    return model


def reversed_gradient() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].register_full_backward_hook(lambda module, inputs, outputs: None)
    return model


def replaced_forward() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[1].forward = torch.tanh
    return model


def buffered(name: str) -> nn.Module:
    layer = nn.Linear(2, 2)
    tensor = getattr(layer, name).detach().clone()
    delattr(layer, name)
    layer.register_buffer(name, tensor)
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(2, 2))


@pytest.mark.parametrize(
    "model",
    [
        Own(2, 2),
        Wrapped(),
        hooked(),
        reversed_gradient(),
        replaced_forward(),
        nn.Sequential(weight_norm(nn.Linear(2, 2))),
        nn.LSTM(2, 2),
    ],
)
def test_anything_else_has_no_layers(model):
    assert sequential_layers(model) is None


def test_a_logit_function_knows_its_layers_unless_the_logits_are_picked():
    model = nn.Sequential(nn.Linear(2, 3))
    assert logit_function(model).layers is not None
    assert logit_function(model, logits=lambda output: 2 * output).layers is None
    params = {"w": torch.ones(2)}
    assert logit_function((lambda theta, x: x * theta["w"], params)).layers is None


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_buffer_in_the_place_of_a_parameter_is_named(name):
    function = logit_function(buffered(name))
    assert function.layers is not None
    assert (function.layers[0].weight, function.layers[0].bias) == ("0.weight", "0.bias")
    assert f"0.{name}" in function.constants
