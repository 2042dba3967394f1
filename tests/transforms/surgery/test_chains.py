"""The channel groups of a chain, and what is no chain."""

import pytest
from torch import Tensor, nn

from igsref.transforms.graph.groups import Place
from igsref.transforms.surgery.chains import chain_groups
from tests.strategies import convolutional


def test_groups_hold_batch_norms_and_blocks_of_columns():
    first, second = chain_groups(convolutional(normalised=True))
    assert (first.size, second.size) == (3, 2)
    assert {place.tensor for place in first.followers} == {
        *("1.weight", "1.bias", "1.running_mean", "1.running_var"),
    }
    assert first.consumers == (Place("3.weight", 1),)
    assert second.producers == (Place("3.weight", 0), Place("3.bias", 0))
    assert second.consumers == (Place("5.weight", 1, inner=4),)


def test_linear_on_the_width_of_maps_reads_no_channels():
    assert chain_groups(nn.Sequential(nn.Conv2d(1, 3, 3), nn.Linear(3, 2))) == ()


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(x + self.one(x))


def test_network_that_branches_is_refused():
    with pytest.raises(ValueError, match="must be a chain of modules, each called once; 'add'"):
        chain_groups(Sum())


def test_layer_called_twice_is_refused():
    layer = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="must be a chain of modules, each called once"):
        chain_groups(nn.Sequential(layer, nn.ReLU(), layer))
