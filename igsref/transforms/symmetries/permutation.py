"""Permutation: the channels of a group in another order, in all tensors that carry them.

Any network keeps its function that treats every channel alike; channels that meet in a sum, a
BatchNorm, a LayerNorm or a depthwise convolution share their order.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from igsref.arguments import check_draw, described
from igsref.graph import ChannelGroup, channel_graph
from igsref.transforms.symmetries.action import (
    check_fit,
    check_place,
    reorder,
    widths,
)


def hidden_widths(model: nn.Module) -> list[int]:
    """Number of channels of every group that can be permuted: of an MLP, its hidden layers.

    >>> hidden_widths(nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3)))
    [5]
    """
    return widths(channel_graph(model).permuted)


def permute_nodes(model: nn.Module, orders: Sequence[Int64[Tensor, "_"]]) -> nn.Module:
    """A copy whose channel c is the given model's channel order[c].

    orders: one permutation of 0..width−1 per group of :func:`hidden_widths`.

    Raises TypeError for what is no list of integer tensors; ValueError where no channel can be
    permuted, naming what is in the way; where the orders do not fit or one is no permutation.
    """
    groups = _permutable(model)
    check_fit("orders", orders, groups)
    for number, order in enumerate(orders):
        _check_order(f"orders[{number}]", order)
    return reorder(model, groups, orders)


def _check_order(name: str, order: Tensor) -> None:
    if order.is_floating_point():
        raise TypeError(f"{name} must be a tensor of integers; got {described(order)}")
    missing = sorted(set(range(len(order))) - set(order.tolist()))
    if missing:
        raise ValueError(
            f"{name} must be a permutation of 0..{len(order) - 1}; {missing[0]} is not in it"
        )


def _permutable(model: nn.Module) -> tuple[ChannelGroup, ...]:
    graph = channel_graph(model)
    check_place(graph.permuted, "permuted", graph.stops)
    return graph.permuted


def draw_permutation(model: nn.Module, generator: torch.Generator, strength: float) -> nn.Module:
    """A copy with the channels of every group in a random order, never the given one.

    strength: all permutations are equally strong; taken so that all draws are called alike.
    """
    check_draw(generator, strength)
    sizes = [group.size for group in _permutable(model)]
    return permute_nodes(model, [_order(size, generator) for size in sizes])


def _order(size: int, generator: torch.Generator) -> Tensor:
    order = torch.randperm(size, generator=generator)
    return order.roll(1) if torch.equal(order, torch.arange(size)) else order
