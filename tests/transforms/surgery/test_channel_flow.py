"""What is known of a channel between the layers that make it and those that read it."""

import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igsref.graph import ChannelGroup, Place
from igsref.graph.functions import FUNCTIONS
from igsref.graph.layers import LAYERS as LAYER_RULES
from igsref.transforms.surgery.channel_flow import LAYERS, NORMS, Signal, follow
from tests.strategies import gaussian

ROWS = Place("0.weight", 0)


def read(*between: nn.Module, made: Signal = Signal.NEGATIVE) -> Signal:
    """What the last layer reads behind these modules."""
    model = nn.Sequential(nn.Linear(3, 3), *between, nn.Linear(3, 3)).eval()
    last = str(len(between) + 1)
    group = ChannelGroup(3, (ROWS,), (Place(f"{last}.weight", 1),))
    return dict(follow(model, group, lambda layer: made))[last]


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


@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_is_refused_by_name(affine):
    with pytest.raises(ValueError, match="the channels pass '_1', a LayerNorm, which takes the m"):
        read(nn.LayerNorm(3, elementwise_affine=affine))
    with pytest.raises(ValueError, match="the channels pass '_1', a GroupNorm, which takes the m"):
        read(nn.GroupNorm(1, 3, affine=affine))


class Between(nn.Module):
    """Two layers whose outputs meet in a function, behind which a third reads."""

    def __init__(self, meet: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.meet = meet

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.meet(self.one(x), self.two(x)))


def met(meet: Callable[[Tensor, Tensor], Tensor]) -> Signal:
    """What is read of channels that both layers make below zero."""
    places = Place("one.weight", 0), Place("two.weight", 0)
    group = ChannelGroup(3, places, (Place("head.weight", 1),))
    ((reader, signal),) = follow(Between(meet), group, lambda layer: Signal.NEGATIVE)
    assert reader == "head"
    return signal


@pytest.mark.parametrize(
    "meet, expected",
    [
        (lambda one, two: F.relu(one) + two, Signal.NEGATIVE),
        (lambda one, two: F.relu(one).add(torch.relu(two)), Signal.OFF),
        (lambda one, two: torch.relu(F.relu(one) + two + 5.0), Signal.ALIVE),
        (lambda one, two: torch.relu(one - two), Signal.ALIVE),
        (lambda one, two: torch.add(one, two, alpha=-2).relu(), Signal.ALIVE),
        (lambda one, two: (one + one).relu(), Signal.ALIVE),
        (lambda one, two: torch.relu(-one), Signal.ALIVE),
        (lambda one, two: one.relu_().view(one.size(0), -1), Signal.OFF),
        (lambda one, two: one.relu().view(two.shape[0], -1), Signal.OFF),
    ],
)
def test_signal_where_two_layers_meet(meet, expected):
    assert met(meet) is expected


def shifted(one: Tensor, two: Tensor) -> Tensor:
    x = before = one.relu()
    x += 5.0
    return before


def shifted_behind(one: Tensor, two: Tensor) -> Tensor:
    x = one.relu()
    x.add_(5.0)
    return x


def shifted_view(one: Tensor, two: Tensor) -> Tensor:
    x = one.relu()
    x.contiguous().flatten(1).sub_(-5.0)
    return x


def shifted_under_a_view(one: Tensor, two: Tensor) -> Tensor:
    x = one.relu()
    view = x.flatten(1).flatten(1)
    x.add_(5.0)
    return view


def rectified_behind(one: Tensor, two: Tensor) -> Tensor:
    F.relu(one, inplace=True)
    return torch.relu(one + two.relu())


@pytest.mark.parametrize(
    "meet", [shifted, shifted_behind, shifted_view, shifted_under_a_view, rectified_behind]
)
def test_nothing_is_known_of_what_is_overwritten(meet):
    assert met(meet) is Signal.ALIVE


class Overwritten(Between):
    """A module that works in place rectifies what is read afterwards: 0, not below it."""

    def __init__(self) -> None:
        super().__init__(torch.add)
        self.rectify = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return self.head(torch.relu(x + self.rectify(x)))


def test_nothing_is_known_of_what_a_module_overwrites():
    group = ChannelGroup(3, (Place("one.weight", 0),), (Place("head.weight", 1),))
    model = Overwritten()
    assert follow(model, group, lambda layer: Signal.NEGATIVE) == [("head", Signal.ALIVE)]


def shortcut(one: Tensor, two: Tensor) -> Tensor:
    x = one.relu()
    two += x
    return x + F.relu(two, inplace=True)


def test_other_summands_of_a_sum_in_place_stay_known():
    assert met(shortcut) is Signal.OFF


@pytest.mark.parametrize(
    "meet",
    [
        lambda one, two: one / one.size(1),
        lambda one, two: two * one.shape[-1],
        lambda one, two: one * two.flatten(1).size()[1],
    ],
)
def test_network_that_computes_with_the_number_of_channels_is_refused(meet):
    with pytest.raises(ValueError, match="computes with the shape of the channels' tensor"):
        met(meet)


class Twice(Between):
    """The head reads twice, and only what it reads the second time is off."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.one(x)) + self.head(self.two(x).relu())


def test_every_read_of_a_layer_called_twice_is_told():
    places = Place("one.weight", 0), Place("two.weight", 0)
    group = ChannelGroup(3, places, (Place("head.weight", 1),))
    assert follow(Twice(torch.add), group, lambda layer: Signal.NEGATIVE) == [
        ("head", Signal.NEGATIVE),
        ("head", Signal.OFF),
    ]


# The pair that torch.adaptive_max_pool1d returns is not taken apart by the graph.
_APART = (getattr, operator.getitem, torch.adaptive_max_pool1d)
_OVER_ALL = (torch.log_softmax, nn.functional.log_softmax)
UNARY = [call for call in FUNCTIONS if call not in (*_APART, *_OVER_ALL)]
MIXING = (nn.LayerNorm, nn.GroupNorm, nn.LogSoftmax, nn.MultiheadAttention, nn.Embedding)


def build(layer: type[nn.Module]) -> nn.Module:
    """A layer that takes inputs of six channels."""
    if issubclass(layer, LAYERS):
        spatial = () if layer is nn.Linear else (1,)
        return layer(6, 6, *spatial)
    settings = {nn.Threshold: (0.0, 1.0), **dict.fromkeys(NORMS, (6,))}.get(layer, ())
    return layer(2) if "Pool" in layer.__name__ else layer(*settings)


@pytest.mark.parametrize("layer", [c for c in LAYER_RULES if c not in (*LAYERS, *MIXING)])
def test_every_other_layer_that_the_graph_knows_treats_each_channel_on_its_own(layer):
    # Of a new layer in the graph that does not, this pass must be told.
    module = build(layer).double().eval()
    spatial = next((int(d) for d in "123" if f"{d}d" in layer.__name__), 1)
    x = gaussian(0, 5, 6, *[4] * spatial)
    fewer = x.clone()
    fewer[:, 5] += 1
    before, after = (module(entry).unflatten(1, (6, -1)) for entry in (x, fewer))
    assert torch.equal(after[:, :5], before[:, :5])


@pytest.mark.parametrize("call", UNARY)
def test_every_function_that_the_graph_knows_treats_each_channel_on_its_own(call):
    name = getattr(call, "__name__", str(call))
    x = gaussian(0, 5, 6, *[4] * (1 if "1d" in name else 2))
    fewer = x.clone()
    fewer[:, 5] += 1
    arguments = extra(name)
    before, after = (call(entry.clone(), *arguments).unflatten(1, (6, -1)) for entry in (x, fewer))
    torch.testing.assert_close(after[:, :5], before[:, :5], rtol=0, atol=0, equal_nan=True)


def extra(name: str) -> tuple:
    """Arguments behind the first."""
    if "pool" in name:
        return (2,)
    if name in ("mean", "sum", "flatten"):
        return (1,) if name == "flatten" else (-1,)
    if name == "reshape":
        return ((5, -1),)
    if name == "dropout":
        return (0.5, False)
    binary = ("add", "sub", "mul", "div", "iadd", "isub", "imul", "truediv", "itruediv")
    return (2.0,) if name in binary else ()
