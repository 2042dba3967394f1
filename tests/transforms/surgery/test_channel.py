"""One channel more in every tensor of a group, in its place and everywhere the tensor is used."""

import pytest
import torch
from torch import nn

from igsref.transforms.graph.groups import ChannelGroup, Place
from igsref.transforms.surgery.channel import (
    Part,
    appended,
    find_group,
    grow,
    growable_groups,
    normal_entries,
)
from tests.strategies import gaussian, mlp


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


def test_layers_behind_which_channels_are_mixed_are_left_out_and_refused_with_the_reason():
    layers = nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)
    model = nn.Sequential(*layers)
    assert list(growable_groups(model)) == ["2"]
    with pytest.raises(ValueError, match=r"layer '0'.*LayerNorm"):
        find_group(model, "0")
