"""One channel more in every tensor of a group, in its place and everywhere the tensor is used."""

import pytest
import torch
from torch import Tensor, nn

from igsref.graph import ChannelGroup, Place
from igsref.transforms.surgery.channel import (
    Part,
    appended,
    find_group,
    grow,
    growable_groups,
    normal_entries,
)
from tests.strategies import Attention, TiedAutoencoder, gaussian, mlp
from tests.transforms.networks import ResNet, images


def zeros(part, entries):
    return appended(entries, 0.0)


def test_flattened_maps_give_each_channel_a_block_of_columns():
    layers = nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 3)
    model = nn.Sequential(*layers).double()
    grown = grow(model, find_group(model, "0"), zeros)
    assert grown[2].weight.shape == (3, 12)
    assert torch.equal(grown[2].weight[:, :8], model[2].weight)
    assert torch.equal(grown[2].weight[:, 8:], torch.zeros(3, 4).double())
    assert (grown[0].out_channels, grown[2].in_features) == (3, 12)


def test_outer_axis_gives_each_position_one_column_more():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(6, 1)).double()
    group = ChannelGroup(2, (Place("0.weight", 0),), (Place("1.weight", 1, outer=3),))
    grown = grow(model, group, zeros)[1].weight.view(3, 3)
    assert torch.equal(grown[:, :2], model[1].weight.view(3, 2))
    assert torch.equal(grown[:, 2], torch.zeros(3).double())


def test_every_part_is_told_apart():
    layers = nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 2)
    model = nn.Sequential(*layers).eval()
    sizes = {}

    def growth(part, entries):
        sizes[part] = tuple(entries.shape)
        return appended(entries, 1.0)

    grown = grow(model, find_group(model, "0"), growth)
    assert set(sizes) == set(Part)
    # Channels first: the axis of the channels in front of what is left of (outer, inner).
    assert sizes[Part.INCOMING] == (2, 1, 1, 1, 2, 2)
    assert grown[1].num_features == 3
    assert grown[3].in_channels == 3
    assert isinstance(grown[1].weight, nn.Parameter)
    assert not isinstance(grown[1].running_mean, nn.Parameter)


def test_matrix_that_makes_and_reads_the_channels_grows_both_ways():
    model = nn.Sequential(nn.Linear(3, 3, bias=False)).double()
    group = ChannelGroup(3, (Place("0.weight", 0),), (Place("0.weight", 1),))
    grown = grow(model, group, zeros)[0]
    assert grown.weight.shape == (4, 4)
    assert (grown.in_features, grown.out_features) == (4, 4)


def test_tied_weights_grow_together():
    model = mlp(0, [3, 3, 3, 3], nn.ReLU)
    model[2].weight = model[0].weight
    group = ChannelGroup(3, (Place("0.weight", 0),), ())
    grown = grow(model, group, zeros)
    assert grown[0].weight is grown[2].weight
    assert grown[2].out_features == 4


def test_normal_entries_are_as_large_as_the_others():
    drawn = normal_entries(1e-3 * gaussian(0, 4, 10_000), torch.Generator().manual_seed(0))
    # The root of a mean of 10,000 squares has a relative deviation of 1/√20,000; six of them.
    assert float(drawn.square().mean().sqrt()) == pytest.approx(1e-3, rel=6 * 2 / 20_000**0.5)
    unit = normal_entries(torch.zeros(4, 10_000), torch.Generator().manual_seed(0))
    assert float(unit.square().mean().sqrt()) == pytest.approx(1, rel=6 / 20_000**0.5)


@pytest.mark.parametrize("affine", [True, False])
def test_layers_behind_which_channels_are_mixed_are_left_out_and_refused_by_name(affine):
    norm = nn.LayerNorm(3, elementwise_affine=affine)
    model = nn.Sequential(nn.Linear(2, 3), norm, nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert list(growable_groups(model)) == ["2"]
    with pytest.raises(ValueError, match=r"layer '0'.* '?_?1'?, a LayerNorm"):
        find_group(model, "0")


def test_channels_of_residual_blocks_are_found_together():
    model = ResNet().eval()
    groups = growable_groups(model)
    shared = ["stem", "blocks.0.conv2", "blocks.1.conv2"]
    assert set(groups) == {*shared, "blocks.0.conv1", "blocks.1.conv1"}
    assert len({groups[name] for name in shared}) == 1
    grown = grow(model, groups["stem"], zeros)
    assert grown.blocks[1].bn2.num_features == 5
    assert grown(images(0, 2).float()).shape == (2, 3)


def test_channels_flattened_behind_their_positions_get_a_column_a_position():
    layers = nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2), nn.Flatten(1), nn.Linear(6, 3)
    model = nn.Sequential(nn.Embedding(7, 4), *layers).double()
    grown = grow(model, find_group(model, "3"), zeros)
    assert grown[5].in_features == 9
    x = torch.tensor([[1, 2, 3], [4, 5, 6]])
    # A zero more in every sum, which may be added in another order.
    torch.testing.assert_close(grown(x), model(x), rtol=1e-14, atol=1e-14)


class Meeting(nn.Module):
    """Two layers, between which anything may happen."""

    def __init__(self, between) -> None:
        super().__init__()
        self.one, self.two, self.between = nn.Linear(2, 4), nn.Linear(4, 3), between

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.between(self, torch.relu(self.one(x))))


@pytest.mark.parametrize(
    "between",
    [
        lambda model, x: x / model.two.in_features,
        lambda model, x: x if model.one.out_features == 4 else -x,
    ],
)
def test_network_that_computes_with_its_widths_is_refused(between):
    model = Meeting(between)
    with pytest.raises(ValueError, match="model computes with the widths of its layers"):
        grow(model, find_group(model, "one"), zeros)


class Tempered(Meeting):
    """Logits times a tensor that is made of a number in every call."""

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x))) * torch.tensor(self.between(self))


def test_network_that_puts_its_width_into_a_tensor_is_refused():
    model = Tempered(lambda model: 2.0)
    assert grow(model, find_group(model, "one"), zeros).two.in_features == 5
    model = Tempered(lambda model: model.two.in_features)
    with pytest.raises(ValueError, match="model computes with the widths of its layers"):
        grow(model, find_group(model, "one"), zeros)


def convolutions(groups: int, out: int) -> nn.Module:
    middle = nn.Conv2d(4, out, 3, groups=groups)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), middle, nn.ReLU(), nn.Conv2d(out, 2, 1))


def attention() -> nn.Module:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make, self.attend = nn.Linear(3, 4), nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.make(x)
            return self.head(self.attend(x, x, x, need_weights=False)[0].mean(1))

    return Reader()


def memory_shared() -> nn.Module:
    model = mlp(0, [3, 3, 3, 3], nn.ReLU)
    model[2].weight = nn.Parameter(model[0].weight.data.T)
    return model


def tied_to_a_subclass() -> nn.Module:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model = mlp(0, [3, 3, 3, 3], nn.ReLU)
    model[2] = Doubled(3, 3)
    model[2].bias = model[0].bias
    return model


def read_outside() -> nn.Module:
    return Meeting(lambda model, x: x + model.one.bias)


@pytest.mark.parametrize(
    "model, layer, reason",
    [
        (convolutions(4, 4), "0", "its channels go through '2', a Conv2d in groups"),
        (convolutions(4, 4), "2", "its channels go through '2', a Conv2d in groups"),
        (convolutions(4, 8), "0", r"no hidden .*_?2 \(Conv2d\) makes 2 channels of each"),
        (convolutions(2, 4), "0", r"no hidden .*2 \(Conv2d\) has groups of several channels"),
        (convolutions(2, 4), "2", r"no hidden .*2 \(Conv2d\) has groups of several channels"),
        (attention(), "make", "its channels go through 'attend', a MultiheadAttention"),
        (attention(), "attend.out_proj", "'attend.out_proj', a NonDynamicallyQuantizableLinear"),
        (Attention(), "head", "no hidden units"),
        (TiedAutoencoder(4), "encoder", "no hidden units"),
        (TiedAutoencoder(4), "decoder", "no hidden units"),
        (memory_shared(), "0", "no hidden .*0.weight and 2.weight share memory"),
        (tied_to_a_subclass(), "0", "no hidden units"),
        (read_outside(), "one", "no hidden .*one.bias is used outside a layer"),
        (Meeting(lambda model, x: x.softmax(1)), "one", r"no hidden .*softmax\) is unknown here"),
        (
            Meeting(lambda model, x: x - x.mean(1, True)),
            "one",
            r"no hidden .*mean\) may act",
        ),
        (Meeting(lambda model, x: x / x.shape[1]), "one", "computes with the shape of the channel"),
    ],
)
def test_what_is_not_free_to_grow_is_refused_with_the_reason(model, layer, reason):
    assert layer not in growable_groups(model)
    with pytest.raises(ValueError, match=f"layer '{layer}'.*{reason}"):
        find_group(model, layer)


def test_layer_that_is_parametrised_is_refused():
    model = mlp(0, [2, 3, 3], nn.ReLU)
    nn.utils.parametrizations.weight_norm(model[0])
    with pytest.raises(ValueError, match=r"layer '0' has no hidden .*0 \(ParametrizedLinear\)"):
        find_group(model, "0")
