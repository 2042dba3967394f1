"""Which layers have gradients of outer products, and that they have them."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from igsref.curvature.kfac.layers import kronecker_layers, normalisations
from igsref.model import logit_function
from tests.closeness import EPS, assert_within
from tests.curvature.kfac.cases import KRONECKER, network
from tests.strategies import TiedAutoencoder, architecture, gaussian


def named(model, **options):
    function = logit_function(model, **options)
    return [(layer.weight, layer.bias) for layer in kronecker_layers(function)]


def test_every_linear_and_convolution_is_found():
    model, _, _ = network("batch norm")
    assert named(model) == [("0.weight", "0.bias"), ("3.weight", "3.bias"), ("5.weight", "5.bias")]
    assert normalisations(logit_function(model)) == [("1.weight", "1.bias")]


def test_what_is_not_in_theta_is_left_out():
    model, _, _ = network("batch norm")
    chosen = ["0.bias", "1.weight", "5.*"]
    assert named(model, parameters=chosen) == [(None, "0.bias"), ("5.weight", "5.bias")]
    assert normalisations(logit_function(model, parameters=chosen)) == [("1.weight",)]


def test_tensors_that_modules_share_are_left_out():
    assert named(TiedAutoencoder(3)) == [
        (None, "encoder.bias"),
        (None, "decoder.bias"),
        ("head.weight", "head.bias"),
    ]


def test_a_module_that_goes_by_two_names_is_one_layer():
    layer = nn.Linear(3, 3)
    assert named(nn.Sequential(layer, nn.Tanh(), layer)) == [("0.weight", "0.bias")]


def test_other_kinds_are_left_out():
    other = [nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), nn.Bilinear(1, 1, 1), nn.GRU(1, 1)]
    model = nn.Sequential(*other, parametrizations.weight_norm(nn.Linear(2, 2))).eval()
    assert named(model) == [(None, "4.bias")]
    assert not named((lambda params, x: x @ params["weight"], {"weight": torch.ones(2, 3)}))


def test_every_normalisation_is_found():
    layers = [nn.BatchNorm1d(2), nn.GroupNorm(1, 2), nn.LayerNorm(2), nn.RMSNorm(2)]
    function = logit_function(nn.Sequential(*layers, nn.InstanceNorm1d(2, affine=True)).eval())
    assert [len(names) for names in normalisations(function)] == [2, 2, 2, 1, 2]


def test_matrices_and_entries_have_the_order_of_theta():
    model, _, _ = network("groups")
    function = logit_function(model)
    convolution, head = kronecker_layers(function)
    theta = torch.cat([value.flatten() for value in function.parameters.values()])
    for layer in (convolution, head):
        matrices = layer.matrices(function.parameters)
        assert matrices.shape == (layer.groups, layer.outputs, layer.inputs)
        assert matrices.numel() == layer.entry_count
        assert torch.equal(theta[layer.entries(function.parameters)], matrices)
    assert (convolution.groups, convolution.outputs, convolution.inputs) == (2, 2, 19)
    assert torch.equal(
        convolution.matrices(function.parameters)[1, 0, :-1], model[0].weight[2].flatten()
    )


SINGLE = [name for name, (build, _) in KRONECKER.items() if isinstance(build(), nn.Sequential)]


@pytest.mark.parametrize("name", SINGLE)
def test_the_gradient_is_the_sum_of_outer_products(name):
    model, x, _ = network(name, 3)
    layer = kronecker_layers(logit_function(model))[0]
    first = model[0].requires_grad_(True)
    y = first(x)
    assert layer.readable(x, y, 3)
    delta = gaussian(5, *y.shape)
    read, written = layer.read(x, 3), layer.written(delta, 3)
    for sample in range(3):
        exact = torch.autograd.grad(
            y[sample], list(first.parameters()), delta[sample], retain_graph=True
        )
        expected = layer.matrices(dict(zip(layer.names, exact, strict=True)))
        actual = written[sample] @ read[sample].mT
        terms = written.shape[3]
        allowed = 4 * terms * EPS * float(written[sample].norm() * read[sample].norm())
        assert_within(actual, expected, allowed)


def test_a_bias_alone_reads_ones():
    model, x, _ = network("stride, padding, dilation", 3)
    (layer, _) = kronecker_layers(logit_function(model, parameters="*.bias"))
    positions = model[0](x)[0, 0].numel()
    assert torch.equal(layer.read(x, 3), torch.ones(3, 1, 1, positions).double())


def test_what_has_no_samples_in_front_is_not_readable():
    model, x, _ = architecture("MLP with tanh", 1, 6)
    layer = kronecker_layers(logit_function(model))[0]
    y = model[0](x)
    assert layer.readable(x, y, 6)
    assert not layer.readable(x, y, 4)
    assert not layer.readable(x, y.detach(), 6)
    assert not layer.readable(x, (y,), 6)
    assert not layer.readable(x[0], y[0], 3)
    image = kronecker_layers(logit_function(network("groups")[0]))[0]
    single = torch.zeros(4, 4, 4)
    assert not image.readable(single, torch.zeros(4, 2, 2, requires_grad=True), 4)
