"""Node scaling: channel c times s_c > 0 where it is made, divided by s_c where it is read.

Jang et al. (2022), Proposition 3.1, there for units of fully connected ReLU networks. It keeps
the function wherever all between is positively homogeneous, σ(s·x) = s·σ(x) for s > 0: ReLU and
leaky ReLU, sums, pooling; a BatchNorm in evaluation mode and the affine map of a LayerNorm bound
groups of their own.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from igsref.arguments import check_draw, check_sequence, check_tensor
from igsref.graph import ChannelGroup, channel_graph
from igsref.transforms.symmetries.action import (
    check_fit,
    check_place,
    multiply,
    refuse_channels,
    widths,
)


def scalable_widths(model: nn.Module) -> list[int]:
    """Number of channels of every group that can be scaled, in the order of the network.

    >>> scalable_widths(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)))
    [5]
    """
    return widths(channel_graph(model).scalable)


def scale_nodes(model: nn.Module, factors: Sequence[Float[Tensor, "_"]]) -> nn.Module:
    """A copy with every channel made larger, and read smaller, by its factor.

    factors: one tensor per group of :func:`scalable_widths`, one number above zero per channel.
        Powers of two round nothing; with others the rounded weights are, strictly, another
        network.

    Raises TypeError for what is no list of tensors; ValueError where no channel can be scaled,
    naming what is in the way; where the factors do not fit, are not positive and finite, or make
    weights overflow or underflow.
    """
    groups = scalable_groups(model)
    check_fit("factors", factors, groups)
    refuse_channels("factors", factors, _positive, "positive and finite")
    return multiply(model, groups, factors)


def _positive(factor: Tensor) -> Tensor:
    return (factor > 0) & factor.isfinite()


def scalable_groups(model: nn.Module) -> tuple[ChannelGroup, ...]:
    """Groups whose channels can be scaled; raises ValueError where there is none."""
    graph = channel_graph(model)
    groups = graph.scalable
    bends = (reason for group in graph.scaled for reason in group.bends)
    check_place(groups, "scaled (positively homogeneous all the way)", (*bends, *graph.stops))
    return groups


def draw_node_factors(
    model: nn.Module, generator: torch.Generator, strength: float
) -> list[Float64[Tensor, "_"]]:
    """Factors 10^(strength·u), u uniform in [−1, 1]; both ends in every group of two or more.

    Raises ValueError as :func:`scale_nodes` does, and for a negative or infinite strength.
    """
    check_draw(generator, strength)
    return [
        10.0 ** (strength * _exponents(group.size, generator)) for group in scalable_groups(model)
    ]


def _exponents(size: int, generator: torch.Generator) -> Tensor:
    """Uniform in [−1, 1]; the ends at two random places."""
    u = 2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1
    ends = torch.randperm(size, generator=generator)
    if size > 1:
        u[ends[0]], u[ends[1]] = 1.0, -1.0
    return u


def nearest_powers_of_two(
    factors: Sequence[Float[Tensor, "_"]],
) -> list[Float[Tensor, "_"]]:
    """Every factor's nearest power of two, in ratio.

    >>> nearest_powers_of_two([torch.tensor([3.0, 0.1])])
    [tensor([4.0000, 0.1250])]
    """
    check_sequence("factors", factors, "tensors")
    for number, factor in enumerate(factors):
        check_tensor(f"factors[{number}]", factor)
    return [torch.ldexp(torch.ones_like(f), f.log2().round().int()) for f in factors]


def draw_node_scaling(model: nn.Module, generator: torch.Generator, strength: float) -> nn.Module:
    """A copy scaled by :func:`draw_node_factors`."""
    return scale_nodes(model, draw_node_factors(model, generator, strength))


def draw_node_scaling_by_powers_of_two(
    model: nn.Module, generator: torch.Generator, strength: float
) -> nn.Module:
    """A copy scaled by the nearest powers of two: nothing is rounded."""
    factors = draw_node_factors(model, generator, strength)
    return scale_nodes(model, nearest_powers_of_two(factors))
