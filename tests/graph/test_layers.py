"""What single layers do to the channels between two Linear or convolutional layers."""

import copy

import pytest
import torch
from torch import Tensor, nn

from igsref.graph import Place, channel_graph
from igsref.graph.layers import LAYERS


def between(*layers: nn.Module, last: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), *layers, nn.Linear(last, 2)).eval()


def images(*layers: nn.Module, channels: int = 4, features: int = 4) -> nn.Sequential:
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 2))
    return nn.Sequential(nn.Conv2d(2, channels, 3), *layers, *tail).eval()


def offers(model: nn.Module) -> tuple[list[int], list[int], list[int]]:
    """Widths that can be scaled, change sign, be permuted."""
    graph = channel_graph(model)
    return (
        [group.size for group in graph.scaled if group.homogeneous],
        [group.size for group in graph.scaled if group.odd],
        [group.size for group in graph.permuted],
    )


def acts_as_claimed(layer: nn.Module, factor: float) -> bool:
    x = torch.linspace(-9, 9, 64).double().view(1, 4, 4, 4)
    layer = layer.double().eval()
    return torch.equal(layer(factor * x), factor * layer(x))


ELEMENTWISE = [
    kind
    for kind in LAYERS
    if kind not in (nn.Threshold, nn.MultiheadAttention)
    and not any(name in kind.__name__ for name in ("Linear", "Conv", "Norm", "Embed", "Pool"))
    and kind not in (nn.Flatten, nn.Dropout1d, nn.Dropout3d, nn.LogSoftmax)
]


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_an_activation_is_called_homogeneous_and_odd_only_where_it_is(kind):
    """The naive oracle: the function itself, at doubled inputs and at changed signs."""
    scaled, flipped, permuted = offers(images(kind()))
    assert bool(scaled) == acts_as_claimed(kind(), 2.0)
    # Where oddness holds by chance of settings, as of Hardtanh(−1, 1), it need not be offered.
    assert not flipped or acts_as_claimed(kind(), -1.0)
    assert permuted == [4]


@pytest.mark.parametrize("kind", [nn.Tanh, nn.Softsign, nn.Identity, nn.Softshrink])
def test_odd_activations_are_offered_for_sign_flips(kind):
    assert offers(images(kind()))[1] == [4]


@pytest.mark.parametrize(
    ("pool", "odd"),
    [
        *((nn.MaxPool2d(2), False), (nn.AvgPool2d(2), True)),
        *((nn.AdaptiveMaxPool2d(2), False), (nn.AdaptiveAvgPool2d(2), True)),
    ],
)
def test_pooling_is_homogeneous_and_only_means_are_odd(pool, odd):
    assert offers(images(pool)) == ([4], [4] if odd else [], [4])
    assert acts_as_claimed(pool, 2.0)
    assert acts_as_claimed(pool, -1.0) == odd


def test_pooling_over_the_channels_stops_them():
    assert offers(between(nn.AvgPool1d(2), last=2)) == ([], [], [])


def test_grouped_convolutions_of_several_channels_read_and_make_some_that_can_be_scaled():
    graph = channel_graph(images(nn.Conv2d(4, 6, 1, groups=2), features=6))
    assert [group.size for group in graph.scaled] == [4, 6]
    assert Place("1.weight", 1, groups=2) in graph.scaled[0].consumers
    assert graph.permuted == ()
    assert "1 (Conv2d) has groups of several channels" in graph.stops


@pytest.mark.parametrize(("groups", "permuted"), [(1, [4]), (2, []), (4, [4])])
def test_group_norm_keeps_the_order_of_groups_of_several_channels(groups, permuted):
    model = images(nn.GroupNorm(groups, 4), nn.ReLU())
    # What it reads is mixed; γ and β make channels that can be scaled.
    assert offers(model) == ([4], [], permuted)
    x = torch.linspace(-1, 1, 2 * 8 * 8).view(1, 2, 8, 8)
    order = torch.tensor([0, 2, 1, 3])
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (moved[0].weight, moved[0].bias, moved[1].weight, moved[1].bias):
            tensor.copy_(tensor[order])
        moved[5].weight.copy_(moved[5].weight[:, order])
    assert torch.allclose(moved(x), model(x), atol=1e-5) == (permuted == [4])


def test_a_depthwise_convolution_reads_and_makes_along_one_axis():
    graph = channel_graph(images(nn.Conv2d(4, 4, 1, groups=4)))
    assert [group.size for group in graph.scaled] == [4, 4]
    assert Place("1.weight", 0) in graph.scaled[0].consumers
    assert Place("1.weight", 0) in graph.scaled[1].producers
    assert [group.size for group in graph.permuted] == [4]


def test_batch_norm_splits_factors_and_shares_the_order():
    graph = channel_graph(images(nn.BatchNorm2d(4)))
    before, behind = graph.scaled
    assert Place("1.running_mean", 0) in before.producers
    assert before.consumers == (Place("1.weight", 0),)
    assert before.followers == (Place("1.running_var", 0),)
    assert behind.producers == (Place("1.weight", 0), Place("1.bias", 0))
    assert len(graph.permuted) == 1


def test_batch_norm_without_an_affine_map_lets_factors_through():
    (group,) = channel_graph(images(nn.BatchNorm2d(4, affine=False))).scaled
    assert Place("1.running_mean", 0) in group.producers
    assert group.consumers == (Place("4.weight", 1),)


@pytest.mark.parametrize(
    ("norm", "training"),
    [(nn.BatchNorm2d(4), True), (nn.BatchNorm2d(4, track_running_stats=False), False)],
)
def test_statistics_of_the_batch_are_unknown(norm, training):
    model = images(norm)
    norm.train(training)
    graph = channel_graph(model)
    when = " in training mode" if training else ""
    assert f"1 (BatchNorm2d) normalises by the statistics of the batch{when}" in graph.stops
    assert graph.scaled == ()


def test_dropout_in_training_mode_is_unknown():
    graph = channel_graph(between(nn.Dropout()).train())
    assert graph.stops[1] == "1 (Dropout) drops entries at random in training mode"
    assert graph.permuted == ()


def test_layer_norm_permits_permutation_before_it_and_scaling_behind_it():
    graph = channel_graph(between(nn.LayerNorm(4), nn.ReLU()))
    assert [group.producers[0].tensor for group in graph.scaled if group.homogeneous] == [
        "1.weight"
    ]
    assert [group.size for group in graph.permuted] == [4]
    assert offers(between(nn.LayerNorm(4, elementwise_affine=False)))[::2] == ([], [4])


class NormalizedSum(nn.Module):
    """A layer beside a normalisation without parameters, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4, elementwise_affine=False)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.left(x) + self.norm(self.right(x)))


def test_what_a_bare_layer_norm_is_added_to_cannot_be_scaled_or_flipped():
    assert offers(NormalizedSum())[:2] == ([], [])


def test_an_embedding_that_keeps_its_norms_is_unknown():
    free = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)).eval()
    bounded = nn.Sequential(nn.Embedding(5, 4, max_norm=1.0), nn.Linear(4, 2)).eval()
    assert offers(free) == ([4], [4], [4])
    assert offers(bounded) == ([], [], [])


class CrossAttention(nn.Module):
    """Queries and keys from two layers; with other widths, the projections are not packed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(3, width)
        self.attention = nn.MultiheadAttention(4, 2, kdim=width, vdim=width, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.left(x), self.right(x)
        return self.head(self.attention(q, k, k, need_weights=False)[0]).mean(1)


def test_a_packed_projection_ties_what_it_reads():
    assert offers(CrossAttention(4).eval())[0] == [4, 4]
    assert offers(CrossAttention(5).eval())[0] == [4, 5, 4]
    names = [p.tensor for p in channel_graph(CrossAttention(4).eval()).scaled[0].producers]
    assert names == ["left.weight", "left.bias", "right.weight", "right.bias"]


def test_weights_of_attention_that_are_used_are_stopped_and_stop_nothing_else():
    class Weights(CrossAttention):
        def forward(self, x: Tensor) -> Tensor:
            q, k = self.left(x), self.right(x)
            out, weights = self.attention(q, k, k)
            return self.head(out).mean(1) + weights.mean((1, 2))[:, None]

    assert offers(Weights(4).eval())[0] == [4, 4]


def test_a_layer_of_another_type_is_unknown_though_it_derives_from_a_known_one():
    class Squared(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.weight.square(), self.bias)

    assert offers(between(Squared(4, 4))) == ([], [], [])
