"""Sign flips: channel c changes its sign where it is made and where it is read.

It keeps the function wherever all between is odd, σ(−x) = −σ(x): tanh, means, sums, BatchNorm in
evaluation mode. With permutations these are all symmetries of a minimal tanh network (Sussmann,
Neural Networks 5 (1992)).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from igsref.arguments import check_draw
from igsref.graph import ChannelGroup, channel_graph
from igsref.transforms.symmetries.action import (
    check_fit,
    check_place,
    multiply,
    refuse_channels,
    widths,
)


def flippable_widths(model: nn.Module) -> list[int]:
    """Number of channels of every group that can change sign, in the order of the network.

    >>> flippable_widths(nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3)))
    [5]
    """
    return widths(channel_graph(model).flippable)


def flip_signs(model: nn.Module, signs: Sequence[Float[Tensor, "_"]]) -> nn.Module:
    """A copy with the channels whose sign is −1 made and read with the other sign.

    signs: one tensor of ±1 per group of :func:`flippable_widths`, one entry per channel. Nothing
        is rounded.

    Raises TypeError for what is no list of tensors; ValueError where no channel can change sign,
    naming what is in the way; where the signs do not fit or are other numbers than ±1.
    """
    groups = _flippable(model)
    check_fit("signs", signs, groups)
    refuse_channels("signs", signs, lambda sign: sign.abs() == 1, "+1 or −1")
    return multiply(model, groups, signs)


def _flippable(model: nn.Module) -> tuple[ChannelGroup, ...]:
    graph = channel_graph(model)
    groups = graph.flippable
    uneven = (reason for group in graph.scaled for reason in group.uneven)
    check_place(groups, "changed in sign (odd all the way)", (*uneven, *graph.stops))
    return groups


def draw_sign_flip(model: nn.Module, generator: torch.Generator, strength: float) -> nn.Module:
    """A copy with random channels changed in sign, at least one in every group.

    strength: all signs are equally strong; taken so that all draws are called alike.
    """
    check_draw(generator, strength)
    sizes = [group.size for group in _flippable(model)]
    return flip_signs(model, [_signs(size, generator) for size in sizes])


def _signs(size: int, generator: torch.Generator) -> Tensor:
    signs = 1 - 2 * torch.randint(2, (size,), generator=generator).double()
    signs[torch.randint(size, (1,), generator=generator)] = -1.0
    return signs
