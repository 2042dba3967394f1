"""A unit that no input makes active changes neither outputs nor IGS; only ReLU has such units."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import igsref
from igsref.transforms.surgery import add_dead_unit, draw_add_dead_unit
from tests.assertions import assert_same_igs
from tests.strategies import SEEDS, architecture, classes, gaussian, mlp
from tests.transforms.surgery.cases import RESIDUAL, Stream, residual

pytestmark = pytest.mark.filterwarnings("ignore::igsref.AccuracyWarning")


@settings(max_examples=3, deadline=None)
@given(seed=SEEDS, hidden=st.lists(st.integers(2, 4), min_size=1, max_size=3))
def test_dead_unit_leaves_igs(seed, hidden):
    model = mlp(seed, [2, *hidden, 3], nn.ReLU)
    data = gaussian(seed + 1, 40, 2), classes(seed + 2, 40, 3)
    wider = draw_add_dead_unit(model, torch.Generator().manual_seed(seed))
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(wider, data)
    assert after.num_parameters > before.num_parameters
    assert_same_igs(before, after)


@pytest.mark.long
@pytest.mark.parametrize("name", ["convolution", "batch norm"])
def test_dead_channel_leaves_igs(name):
    model, x, y = architecture(name, 0, 50)
    wider = add_dead_unit(model, "0", torch.Generator().manual_seed(0))
    before, after = igsref.exact_igs(model, (x, y)), igsref.exact_igs(wider, (x, y))
    assert after.num_parameters > before.num_parameters
    assert before.saturation < 0.999
    assert_same_igs(before, after)


@pytest.mark.parametrize("name", RESIDUAL)
def test_dead_unit_among_shared_channels_leaves_igs(name):
    model, layer, data = residual(name, 0)
    wider = add_dead_unit(model, layer, torch.Generator().manual_seed(0))
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(wider, data)
    assert after.num_parameters > before.num_parameters
    assert before.saturation < 0.999
    assert_same_igs(before, after)


def test_residual_stream_that_a_layer_reads_before_any_relu_is_refused():
    with pytest.raises(ValueError, match="'layer' would read one that is negative, not off"):
        add_dead_unit(Unrectified(), "layer", torch.Generator())


class Unrectified(Stream):
    """The layer reads the stream behind a sum first, behind ReLU afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.layer(x)
        return self.head(torch.relu(x + self.layer(torch.relu(x))))


def test_all_derivatives_by_a_dead_unit_are_zero_on_any_input():
    wider = add_dead_unit(mlp(0, [2, 3, 2], nn.ReLU), "0", torch.Generator().manual_seed(0))
    assert wider[2].weight[:, 3].abs().min() > 0
    wider(1e6 * gaussian(1, 100, 2)).square().sum().backward()
    new = wider[0].weight.grad[3], wider[0].bias.grad[3], wider[2].weight.grad[:, 3]
    assert all(bool((value == 0).all()) for value in new)
    assert bool(wider[2].weight.grad[:, :3].any())


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.LeakyReLU, nn.Sigmoid])
def test_other_activations_have_no_dead_units(activation):
    with pytest.raises(ValueError, match="'2' would read one that is alive, not off"):
        add_dead_unit(mlp(0, [2, 3, 2], activation), "0", torch.Generator())


def test_unit_of_tanh_without_weights_raises_igs():
    # What is refused: its output is 0, but its bias moves the logits.
    model, data = mlp(0, [2, 2, 2, 3], nn.Tanh), (gaussian(1, 40, 2), classes(2, 40, 3))
    before = igsref.exact_igs(model, data)
    wider = mlp(0, [2, 3, 2, 3], nn.Tanh)
    with torch.no_grad():
        wider[0].weight.copy_(torch.cat([model[0].weight, torch.zeros(1, 2)]))
        wider[0].bias.copy_(torch.cat([model[0].bias, torch.zeros(1)]))
        wider[2].weight.copy_(torch.cat([model[2].weight, torch.ones(2, 1)], dim=1))
        for name, value in model[2:].named_parameters():
            if name != "2.weight":
                wider[2:].get_parameter(name).copy_(value)
    torch.testing.assert_close(wider(data[0]), model(data[0]), rtol=1e-14, atol=1e-14)
    assert igsref.exact_igs(wider, data).lower > before.value * 1.01


def test_relu_on_its_kink_is_refused():
    with pytest.raises(ValueError, match="'2' would read one that is alive, not off"):
        add_dead_unit(mlp(0, [2, 3, 2], nn.ReLU, bias=False), "0", torch.Generator())


def test_shift_of_batch_norm_takes_the_place_of_a_bias():
    layers = nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)
    wider = add_dead_unit(nn.Sequential(*layers).eval(), "0", torch.Generator())
    assert wider[1](wider[0](gaussian(0, 5, 2).float()))[:, 3].tolist() == [-1.0] * 5


def test_unit_read_without_an_activation_is_refused():
    with pytest.raises(ValueError, match="'1' would read one that is negative, not off"):
        add_dead_unit(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), "0", torch.Generator())


def test_draw_where_no_layer_can_take_one_is_refused():
    with pytest.raises(ValueError, match="no layer that can take a dead unit"):
        draw_add_dead_unit(mlp(0, [2, 3, 2], nn.Tanh), torch.Generator())


def test_draw_takes_only_layers_behind_which_there_is_a_relu():
    layers = nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)
    for seed in range(5):
        wider = draw_add_dead_unit(nn.Sequential(*layers), torch.Generator().manual_seed(seed))
        assert (wider[0].out_features, wider[2].out_features) == (3, 4)
