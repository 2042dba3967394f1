"""What is known of a channel between the layers that make it and those that read it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igsref.transforms.graph.groups import ChannelGroup, Place
from igsref.transforms.surgery.channel_flow import Signal, follow

ROWS = Place("0.weight", 0)


def read(*between: nn.Module, made: Signal = Signal.NEGATIVE) -> Signal:
    """What the last layer reads behind these modules."""
    model = nn.Sequential(nn.Linear(3, 3), *between, nn.Linear(3, 3)).eval()
    last = str(len(between) + 1)
    group = ChannelGroup(3, (ROWS,), (Place(f"{last}.weight", 1),))
    return follow(model, group, lambda layer: made)[last]


@pytest.mark.parametrize(
    "between, made, expected",
    [
        ((nn.ReLU(),), Signal.NEGATIVE, Signal.OFF),
        ((nn.ReLU6(), nn.Dropout()), Signal.NEGATIVE, Signal.OFF),
        ((nn.ReLU(), nn.ReLU()), Signal.NEGATIVE, Signal.OFF),
        ((nn.ReLU(),), Signal.IDLE, Signal.ALIVE),
        ((nn.ReLU(),), Signal.ALIVE, Signal.ALIVE),
        ((nn.LeakyReLU(),), Signal.NEGATIVE, Signal.ALIVE),
        ((nn.ReLU(), nn.Sigmoid()), Signal.NEGATIVE, Signal.ALIVE),
        ((nn.Identity(),), Signal.IDLE, Signal.IDLE),
        ((nn.BatchNorm1d(3),), Signal.IDLE, Signal.NEGATIVE),
        ((nn.BatchNorm1d(3),), Signal.ALIVE, Signal.ALIVE),
        ((nn.BatchNorm1d(3, affine=False),), Signal.IDLE, Signal.IDLE),
    ],
)
def test_signal_behind(between, made, expected):
    assert read(*between, made=made) is expected


@pytest.mark.parametrize(
    "between", [nn.LayerNorm(3), nn.LayerNorm(3, elementwise_affine=False), nn.Softmax(dim=1)]
)
def test_what_mixes_channels_is_refused_by_name(between):
    name = type(between).__name__
    with pytest.raises(ValueError, match=f"the channels pass '_1', a {name}, which is not known"):
        read(between)


class Sums(nn.Module):
    """Two layers whose outputs are added, and something beside them."""

    def __init__(self, beside: float | None) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.beside = beside

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(x)) + self.two(x)
        x = x if self.beside is None else x + self.beside
        return self.head(torch.relu(x))


@pytest.mark.parametrize("beside, expected", [(None, Signal.OFF), (5.0, Signal.ALIVE)])
def test_sum_with_a_negative_is_negative_unless_something_unknown_is_added(beside, expected):
    places = Place("one.weight", 0), Place("two.weight", 0)
    group = ChannelGroup(3, places, (Place("head.weight", 1),))
    assert follow(Sums(beside), group, lambda layer: Signal.NEGATIVE) == {"head": expected}
