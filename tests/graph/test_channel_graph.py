"""The groups of whole networks: held to the function itself, and to hand-made lists."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from igsref.graph import ChannelGroup, Place, channel_graph
from igsref.transforms.symmetries.action import multiply, reorder
from tests.strategies import TiedAutoencoder, gaussian, mlp
from tests.transforms.networks import NETWORKS, Block, Tokens, network, ready

VISIBLE = 1e-6
"""What a change of the function is at least; rounding moves logits of these networks by 1e-15."""


def moved(model: nn.Module, changed: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((changed(x) - model(x)).abs().max())


def left_out(group: ChannelGroup) -> list[ChannelGroup]:
    """The group without one of its places, for each of them."""
    return [
        replace(group, **{role: tuple(p for p in places if p != place)})
        for role in ("producers", "consumers", "followers")
        for places in (getattr(group, role),)
        for place in places
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_place_of_a_group_is_needed_and_no_other_is(name):
    """The naive oracle: one channel at a time, against the function."""
    model, x = network(name, 3)
    for group in channel_graph(model).scaled:
        for channel in range(group.size if group.homogeneous or group.odd else 0):
            factor = torch.ones(group.size).double()
            factor[channel] = 2.0 if group.homogeneous else -1.0
            assert moved(model, multiply(model, [group], [factor]), x) == 0
        factor = torch.full((group.size,), 2.0).double()
        for part in left_out(replace(group, followers=())):
            assert moved(model, multiply(model, [part], [factor]), x) > VISIBLE, part


@pytest.mark.parametrize("name", NETWORKS)
def test_a_permutation_of_all_places_but_one_changes_the_function(name):
    model, x = network(name, 3)
    for group in channel_graph(model).permuted:
        order = torch.arange(group.size).roll(1)
        assert moved(model, reorder(model, [group], [order]), x) < 1e-12
        for place in group.places:
            rest = tuple(other for other in group.places if other != place)
            part = ChannelGroup(group.size, rest, ())
            assert moved(model, reorder(model, [part], [order]), x) > VISIBLE, place


@pytest.mark.parametrize("name", ["MLP with tanh", "VGG", "MLP with gelu", "attention"])
def test_a_scaling_of_a_group_that_bends_changes_the_function(name):
    model, x = network(name, 3)
    graph = channel_graph(model)
    for group in graph.scaled:
        factor = torch.full((group.size,), 2.0 if not group.homogeneous else -1.0).double()
        if not (group.homogeneous and group.odd):
            assert moved(model, multiply(model, [group], [factor]), x) > VISIBLE


def test_groups_of_a_residual_network_share_the_channels_of_the_shortcuts():
    model, _ = network("ResNet", 0)
    shared = channel_graph(model).permuted[0]
    assert {"stem.weight", "blocks.0.bn2.weight", "blocks.1.bn2.weight", "head.weight"} <= {
        place.tensor for place in shared.places
    }
    assert "blocks.0.bn1.weight" not in {place.tensor for place in shared.places}


def test_a_flattened_channel_has_a_block_or_a_tile_of_features():
    model, _ = network("VGG", 0)
    assert Place("10.weight", 1, inner=4) in channel_graph(model).permuted[1].consumers
    assert Place("last.weight", 1, outer=5) in channel_graph(Tokens()).permuted[1].consumers


class WithUnknown(nn.Module):
    """A convolutional part, a sort in the middle, and a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))
        self.norm = nn.LocalResponseNorm(2)
        self.back = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.norm(torch.sort(self.front(x)).values))


def test_unknown_nodes_are_named_and_other_groups_are_offered():
    graph = channel_graph(WithUnknown())
    assert [group.size for group in graph.scaled] == [4, 6]
    assert [group.size for group in graph.permuted] == [4, 6]
    assert "sort (sort) is unknown here" in graph.stops
    assert "norm (LocalResponseNorm) is unknown here" in graph.stops


def test_inputs_and_outputs_are_in_no_group():
    graph = channel_graph(nn.Sequential(nn.Linear(3, 4)))
    assert graph.scaled == graph.permuted == ()
    assert graph.stops == ("input is an input of the network", "an output of the network")


def test_a_residual_stream_that_holds_the_input_stays():
    graph = channel_graph(nn.Sequential(Block(2), nn.Flatten(), nn.Linear(8, 3)).eval())
    assert not [p for g in graph.permuted for p in g.places if "bn2" in p.tensor]
    assert [group.size for group in graph.permuted] == [2]


def test_tied_weights_are_coupled_or_stopped():
    assert channel_graph(TiedAutoencoder(4)).scaled == ()
    model = nn.Sequential(
        *(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()),
        nn.Linear(4, 3),
    )
    assert [group.size for group in channel_graph(model).scaled] == [4, 4, 4]
    model[4].weight = model[2].weight
    # The shared matrix ties what it reads twice, and what it makes twice: all three layers.
    assert [group.size for group in channel_graph(model).scaled] == [4]


def test_groups_of_tied_weights_keep_the_function():
    model = mlp(0, [2, 4, 4, 4, 3], nn.ReLU)
    model[4].weight = model[2].weight
    (group,) = channel_graph(model).scaled
    factor = torch.tensor([1.0, 2.0, 4.0, 0.5]).double()
    changed = multiply(model, [group], [factor])
    x = gaussian(1, 4, 2)
    assert moved(model, changed, x) == 0
    assert changed[4].weight is changed[2].weight


class ByHand(nn.Module):
    """Uses the weight of its first layer by itself once more."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x))) + functional.linear(x, self.first.weight)


def test_a_tensor_used_outside_its_layer_stays():
    graph = channel_graph(ByHand())
    assert graph.scaled == ()
    assert "first.weight is used outside a layer" in graph.stops


def test_tensors_that_share_memory_stay():
    model = mlp(0, [3, 3, 3], nn.ReLU)
    model[2].weight = nn.Parameter(model[0].weight.detach().T)
    graph = channel_graph(model)
    assert graph.scaled == ()
    assert "0.weight and 2.weight share memory" in graph.stops


def test_hooked_and_parametrised_layers_stay():
    model = nn.Sequential(*mlp(0, [3, 4, 4, 3], nn.ReLU))
    model[0].register_forward_hook(lambda module, args, out: out + 1)
    assert [g.consumers[0].tensor for g in channel_graph(model).scaled] == ["4.weight"]
    nn.utils.parametrizations.weight_norm(model[2])
    assert channel_graph(model).scaled == ()


class Late(nn.Module):
    """Returns its head's output, or what a late operation in place makes of it."""

    def __init__(self, late: str) -> None:
        super().__init__()
        self.head, self.late = nn.Linear(3, 2), late

    def forward(self, x: Tensor) -> Tensor:
        out = self.head(x)
        if self.late == "relu_":
            out.relu_()
        if self.late == "sort":
            out.sort()
        return {"logits": out} if self.late == "dict" else out


@pytest.mark.parametrize("late", ["relu_", "sort", "dict"])
def test_the_head_is_named_only_where_its_output_is_returned_unchanged(late):
    assert channel_graph(Late("")).head == "head"
    assert channel_graph(Late(late)).head is None


def test_a_head_that_shares_its_weight_is_not_free():
    model = mlp(0, [3, 3, 3], nn.ReLU)
    assert channel_graph(model).head == "2"
    model[2].weight = model[0].weight
    assert channel_graph(model).head is None


def test_the_pass_leaves_the_model_alone():
    model, x = network("ResNet", 1)
    before, names = model(x), list(model.state_dict())
    channel_graph(model)
    assert torch.equal(model(x), before)
    assert list(model.state_dict()) == names


def test_batch_norm_over_positions_is_not_taken_for_one_over_channels():
    """Over (N, L, C) BatchNorm1d normalises positions; L = C would hide it."""

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.norm(self.first(x)))).mean(dim=1)

    graph = channel_graph(ready(Positions(), 0))
    assert graph.scaled == graph.permuted == ()
    assert any("number of axes" in reason for reason in graph.stops)


def shifts(*layers: nn.Module) -> list[tuple[str, int, str | None]]:
    graph = channel_graph(nn.Sequential(*layers).eval())
    return [(shift.tensor, shift.count, shift.counterpart) for shift in graph.shifts]


def test_constants_that_the_layer_behind_takes_away_are_told():
    linear, norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
    assert shifts(linear, norm) == [
        ("1.running_mean", 4, "1.bias"),
        ("0.bias", 4, "1.bias"),
    ]
    assert shifts(linear, nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2)) == []
    assert shifts(linear, nn.ReLU(), norm) == [("2.running_mean", 4, "2.bias")]
    assert shifts(linear, nn.LayerNorm(4)) == [("0.weight", 3, None), ("0.bias", 1, None)]
    assert shifts(nn.LayerNorm(4), nn.LayerNorm(4)) == []
    assert shifts(linear, nn.GroupNorm(2, 4)) == [("0.bias", 2, None)]
    assert shifts(linear, nn.Linear(4, 2)) == [("0.bias", 4, "1.bias")]
    assert shifts(linear, nn.Linear(4, 2, bias=False)) == []
    assert shifts(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)) == [("0.bias", 4, "1.bias")]
    assert shifts(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3, padding=1)) == []


def test_constants_of_what_is_used_twice_are_not_taken_away():
    linear = nn.Linear(4, 4)
    assert shifts(linear, nn.ReLU(), linear, nn.LayerNorm(4)) == []

    class Reused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return x + self.two(x)

    assert channel_graph(Reused()).shifts == ()


def test_a_norm_over_another_axis_takes_nothing_away():
    # Over positions, of which there are as many as channels.
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    assert channel_graph(model, {"input": 2}).shifts != ()
    assert channel_graph(model, {"input": 3}).shifts == ()


def test_calls_without_gradients_are_told():
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.one(x)
            return self.two(torch.relu(x))

    assert "one (Linear) is called without gradients" in channel_graph(Frozen()).stops
    with torch.no_grad():  # of the caller's
        assert [group.size for group in channel_graph(Between()).scaled] == [4]


class Between(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_means_over_axes_counted_from_the_first_need_to_know_how_many_there_are():
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm1d(4), nn.Conv1d(4, 3, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x.transpose(1, 2))
            return self.conv(torch.relu(x - x.mean(1, keepdim=True)))

    assert channel_graph(Centred().eval()).scaled == ()


def test_tensors_of_another_shape_than_the_layer_says_stay():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].bias = nn.Parameter(torch.ones(1))
    graph = channel_graph(model)
    assert graph.scaled == ()
    assert "0.bias has another shape than 0 (Linear) says" in graph.stops


def test_tensors_that_the_model_does_not_list_are_unknown():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    del model[0].bias
    model[0].bias = torch.ones(4)
    graph = channel_graph(model)
    assert graph.scaled == ()
    assert "0 (Linear) has a tensor that is no parameter or buffer of the model" in graph.stops


def test_a_sparse_buffer_is_no_obstacle():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model.register_buffer("adjacency", torch.eye(3).to_sparse())
    assert [group.size for group in channel_graph(model).scaled] == [4]


def test_a_norm_that_comes_first_has_the_axis_of_the_inputs():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).eval()
    assert [group.size for group in channel_graph(model, {"input": 2}).scaled] == [3]


class Digits(nn.Module):
    """The end of PyTorch's own example for MNIST."""

    def __init__(self, dim: int, *behind: nn.Module) -> None:
        super().__init__()
        self.one, self.two, self.dim = nn.Linear(3, 4), nn.Linear(4, 2), dim
        self.behind = nn.Sequential(*behind)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.one(x))
        return self.behind(nn.functional.log_softmax(self.two(x), dim=self.dim))


def test_log_softmax_leaves_the_head_what_it_is():
    ends = nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(dim=1))
    assert channel_graph(ends, {"input": 2}).head == "0"
    assert channel_graph(Digits(-1)).head == "two"
    assert channel_graph(Digits(1), {"x": 2}).head == "two"
    assert channel_graph(Digits(0), {"x": 2}).head is None
    assert channel_graph(Digits(-1, nn.ReLU())).head is None
    # Constants of a bias do not pass it to the layer behind.
    behind = channel_graph(Digits(-1, nn.Linear(2, 2)))
    assert behind.head == "behind.0" and behind.shifts == ()
    assert [group.size for group in behind.scalable] == [4]
