"""Layer scaling: all channels of a group by one factor, s·W₁ and W₂/s.

Dinh et al. (2017), Theorem 2; Jang et al. (2022), Proposition 3.1. Node scaling with equal
factors in every group.
"""

from collections.abc import Sequence

import torch
from torch import nn

from igsref.arguments import check_draw, check_number, check_sequence
from igsref.transforms.symmetries.node_scaling import (
    nearest_powers_of_two,
    scalable_groups,
    scale_nodes,
)


def scale_layers(model: nn.Module, factors: Sequence[float]) -> nn.Module:
    """A copy with every group of channels scaled as one.

    factors: one number above zero per group of ``scalable_widths``.

    Raises TypeError for what is no list of numbers; ValueError where no channel can be scaled, and
    where the factors do not fit.

    >>> model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    >>> torch.equal(scale_layers(model, [4.0])[0].weight, 4 * model[0].weight)
    True
    """
    groups = scalable_groups(model)
    check_sequence("factors", factors, f"{len(groups)} numbers, one per group of channels")
    for number, factor in enumerate(factors):
        check_number(f"factors[{number}]", factor)
    if len(factors) != len(groups):
        raise ValueError(
            f"factors must hold one entry per group of channels, {len(groups)}; got {len(factors)}"
        )
    spread = [
        torch.full((group.size,), float(factor), dtype=torch.float64)
        for group, factor in zip(groups, factors, strict=True)
    ]
    return scale_nodes(model, spread)


def draw_layer_factors(
    model: nn.Module, generator: torch.Generator, strength: float
) -> list[float]:
    """Factors 10^(±strength), each end as likely as the other, one per group.

    Raises ValueError as :func:`scale_layers` does, and for a negative or infinite strength.
    """
    check_draw(generator, strength)
    up = torch.randint(2, (len(scalable_groups(model)),), generator=generator)
    return [float(10.0 ** (strength * (2 * int(sign) - 1))) for sign in up]


def draw_layer_scaling(model: nn.Module, generator: torch.Generator, strength: float) -> nn.Module:
    """A copy scaled by :func:`draw_layer_factors`."""
    return scale_layers(model, draw_layer_factors(model, generator, strength))


def draw_layer_scaling_by_powers_of_two(
    model: nn.Module, generator: torch.Generator, strength: float
) -> nn.Module:
    """A copy scaled by the nearest powers of two: nothing is rounded."""
    factors = torch.tensor(draw_layer_factors(model, generator, strength), dtype=torch.float64)
    return scale_layers(model, nearest_powers_of_two([factors])[0].tolist())
