"""What normalisations and tables read: outer products of it are autograd's gradients."""

import pytest
import torch
from torch import nn

from igsref.likelihoods import Categorical
from igsref.training.layers import Embedding, Normalisation, known_layers
from igsref.training.live import live_capture, live_function, samples_of
from tests.closeness import EPS, assert_within
from tests.strategies import classes, fill_, gaussian


class Pooled(nn.Module):
    """A layer, the mean over its positions, and a head."""

    def __init__(self, layer, axes, width):
        super().__init__()
        self.layer, self.axes, self.head = layer, axes, nn.Linear(width, 3)

    def forward(self, x):
        out = torch.tanh(self.layer(x))
        return self.head(out.mean(dim=self.axes) if self.axes else out.flatten(1))


NORMALISATIONS = {
    "batch norm": (nn.BatchNorm1d(4), (), 4, (4,)),
    "batch norm of images": (nn.BatchNorm2d(4), (2, 3), 4, (4, 2, 3)),
    "group norm": (nn.GroupNorm(2, 4), (2,), 4, (4, 3)),
    "instance norm": (nn.InstanceNorm1d(4, affine=True), (2,), 4, (4, 3)),
    "layer norm": (nn.LayerNorm(4), (1,), 4, (3, 4)),
    "layer norm of two axes": (nn.LayerNorm((2, 3)), (), 6, (2, 3)),
    "layer norm without a bias": (nn.LayerNorm(4, bias=False), (1,), 4, (3, 4)),
    "root mean square": (nn.RMSNorm(4), (1,), 4, (3, 4)),
}


def read(model, x):
    """The layer in a model, with what it read and the derivatives of the summed logits."""
    function = live_function(model)
    (layer,) = (found for found in known_layers(function) if found.module is model.layer)
    found = live_capture(function, samples_of((x,), {}), [layer], Categorical())
    delta = found.derivatives(torch.ones(len(x), 1, 3).double())[layer][:, 0]
    model.zero_grad()
    model(x).sum().backward()
    return layer, found, delta, {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NORMALISATIONS)
def test_a_normalisation_has_its_gradient(name, training):
    module, axes, width, shape = NORMALISATIONS[name]
    model = fill_(Pooled(module, axes, width).double(), 1).train(training)
    layer, found, delta, gradient = read(model, gaussian(2, 5, *shape))
    assert type(layer) is Normalisation
    outer = torch.einsum("ngot,ngit->goi", delta, found.inputs(layer))
    # Sums of 5 samples at up to 6 positions, each after some forty roundings.
    assert_within(outer, layer.matrices(gradient), 2000 * EPS * float(outer.abs().max()))


def test_reading_a_normalisation_leaves_its_statistics():
    model = Pooled(nn.BatchNorm1d(4), (), 4).double().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    function = live_function(model)
    (layer, _) = sorted(known_layers(function), key=lambda found: found.names, reverse=True)
    layer.read(gaussian(1, 5, 4), 5)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


@pytest.mark.parametrize("padding", [None, 2])
def test_a_table_has_its_gradient_in_the_order_of_its_entries(padding):
    model = fill_(Pooled(nn.Embedding(7, 4, padding_idx=padding), (1,), 4).double(), 1)
    layer, found, delta, gradient = read(model, classes(2, 15, 7).view(5, 3))
    assert type(layer) is Embedding
    tokens = layer.tokens(found)
    one_hot = nn.functional.one_hot(tokens, 7).double()
    if padding is not None:
        one_hot[:, :, padding] = 0
    outer = torch.einsum("ngot,nti->goi", delta, one_hot)
    assert_within(outer, layer.matrices(gradient), 2000 * EPS * float(outer.abs().max()))
    entries = layer.entries({n: p.detach() for n, p in model.named_parameters()})
    flat = torch.cat([g.flatten() for g in gradient.values()])
    assert torch.equal(flat[entries], layer.matrices(gradient))


def test_tables_whose_gradient_is_another_have_no_rule():
    for options in ({"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}):
        model = Pooled(nn.Embedding(7, 4, **options), (1,), 4)
        assert [found.names for found in known_layers(live_function(model))] == [
            ["head.weight", "head.bias"]
        ]


def test_channels_elsewhere_are_not_readable():
    norm, x = nn.LayerNorm(4), gaussian(1, 5, 3).requires_grad_(True)
    layer = Normalisation(norm, "weight", "bias")
    assert not layer.readable(x, x, 5)
    assert not layer.readable(None, x, 5)
    table = Embedding(nn.Embedding(7, 4), "weight", None)
    assert not table.readable(classes(1, 5, 7), x, 5)
    assert not table.readable("tokens", x, 5)
