"""What functions and methods do to the channels: against what they compute."""

import operator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from igsref.graph import channel_graph


class Net(nn.Module):
    """A convolution, the function under test, and a Linear on what comes out."""

    def __init__(self, function, features: int) -> None:
        super().__init__()
        self.first, self.function = nn.Conv2d(2, 4, 3), function
        self.last = nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


def offers(function, features: int = 4) -> tuple[bool, bool, bool]:
    graph = channel_graph(Net(function, features).eval())
    return (
        any(group.homogeneous for group in graph.scaled),
        any(group.odd for group in graph.scaled),
        bool(graph.permuted),
    )


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (functional.relu, (True, False, True)),
        (torch.relu, (True, False, True)),
        (lambda x: x.relu(), (True, False, True)),
        (lambda x: x.clone().relu_(), (True, False, True)),
        (lambda x: functional.leaky_relu(x, 0.2), (True, False, True)),
        (torch.tanh, (False, True, True)),
        (lambda x: x.tanh(), (False, True, True)),
        (lambda x: functional.gelu(x, approximate="tanh"), (False, False, True)),
        (functional.silu, (False, False, True)),
        (lambda x: functional.max_pool2d(x, 2), (True, False, True)),
        (lambda x: torch.max_pool2d(x, 2), (True, False, True)),
        (lambda x: functional.avg_pool2d(x, x.size()[3]), (True, True, True)),
        (lambda x: functional.adaptive_avg_pool2d(x, 2), (True, True, True)),
        (lambda x: functional.dropout(x, 0.5, False), (True, True, True)),
        (lambda x: x * 0.5, (True, True, True)),
        (lambda x: 2 * x / 3, (True, True, True)),
        (lambda x: -x, (True, True, True)),
        (lambda x: x + 1, (False, False, True)),
        (lambda x: 1 - x, (False, False, True)),
        (lambda x: x + x.tanh(), (False, True, True)),
        (lambda x: torch.sub(x, x.relu(), alpha=2), (True, False, True)),
        (lambda x: x / x.size(0), (True, True, True)),
        # Unknown, or not a map of every channel alike:
        (lambda x: functional.dropout(x, 0.5), (False, False, False)),
        (lambda x: x * x, (False, False, False)),
        (lambda x: 1 / x, (False, False, False)),
        (lambda x: x.softmax(1), (False, False, False)),
        (lambda x: torch.cat([x, x], dim=0), (False, False, False)),
        (lambda x: x + x.mean((2, 3)), (False, False, False)),
        (lambda x: functional.leaky_relu(x, x.mean()), (False, False, False)),
        (lambda x: functional.max_pool2d(x, 2, return_indices=True)[0], (False, False, False)),
    ],
)
def test_a_function_is_offered_for_what_commutes_with_it(function, expected):
    assert offers(lambda x: mean(function(x))) == expected


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: torch.flatten(x, 1),
        lambda x: x.flatten(1),
        lambda x: x.flatten(start_dim=1, end_dim=3),
        lambda x: x.view(x.size(0), -1),
        lambda x: x.reshape(x.shape[0], -1),
        lambda x: x.view((x.size()[0], -1)),
    ],
)
def test_flattening_gives_a_channel_a_block_of_features(flatten):
    graph = channel_graph(Net(flatten, 36).eval())
    (place,) = graph.permuted[0].consumers
    assert (place.outer, place.inner) == (1, 9)


@pytest.mark.parametrize(
    "shape",
    [
        lambda x: x.flatten(2).mean(2),
        lambda x: x.view(-1, 36),
        lambda x: x.view(x.size(1), -1),
        lambda x: x.transpose(1, 3).flatten(1),
        lambda x: x.mean(),
        lambda x: x.mean(1).flatten(1),
        lambda x: x.mean((0, 2, 3))[None],
        lambda x: x[:, :, 0, 0],
    ],
)
def test_other_shapes_stop_the_channels(shape):
    assert offers(shape, 36) == (False, False, False)


def test_a_mean_over_some_positions_keeps_the_channels_in_their_place():
    assert offers(lambda x: x.mean(-1).mean(-1)) == (True, True, True)
    assert offers(lambda x: x.mean((-1, 2), keepdim=True).flatten(1)) == (True, True, True)
    assert offers(lambda x: x.sum(3).sum(2)) == (True, True, True)


def test_a_mean_over_an_axis_that_may_be_that_of_the_channels_stops_them():
    class Sequence(nn.Module):
        def __init__(self, keep: bool) -> None:
            super().__init__()
            self.first, self.last, self.keep = nn.Linear(2, 4), nn.Linear(4, 2), keep

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(x - x.mean(dim=1, keepdim=True) if self.keep else x.mean(dim=1))

    # The logits are (N, C): three axes before a mean that drops one, two before one that does not.
    assert len(channel_graph(Sequence(False)).permuted) == 1
    assert len(channel_graph(Sequence(True)).permuted) == 0


def test_sums_of_different_channels_stop_both():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 1), nn.Linear(2, 4)
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(operator.add(self.a(x), self.b(x)))

    graph = channel_graph(Sum())
    assert graph.scaled == ()
    assert any(reason.startswith("add (add) adds channels") for reason in graph.stops)


def test_a_call_with_arguments_that_are_unknown_is_unknown():
    graph = channel_graph(Net(lambda x: mean(torch.div(x, 2, rounding_mode="floor")), 4))
    assert graph.scaled == ()
    assert "div (div) is called in a way that is unknown here" in graph.stops
