"""Badly scaled twins of reference vectors: the same function, the same exact IGS, other floats.

Hidden units are scaled by powers of two, and so nothing is rounded.
"""

import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from igsref.transforms.symmetries import nearest_powers_of_two, scalable_widths, scale_nodes
from igsref.vectors import Vector

DECADES = 6.0
"""Standard deviation of the factors' exponents."""


def badly_scaled(vectors: Iterable[Vector]) -> tuple[Vector, ...]:
    """Hidden units times 10^(6·N(0,1)), rounded to powers of two, of those that have a place.

    A place have units with (leaky) ReLU and pooling, but not with tanh, between what makes and
    what reads them. The factors follow from a vector's name.
    """
    return tuple(_twin(vector) for vector in vectors if scalable_widths(vector.model))


def _twin(vector: Vector) -> Vector:
    generator = torch.Generator().manual_seed(zlib.crc32(vector.name.encode()))
    factors = [
        10.0 ** (DECADES * torch.randn(width, generator=generator, dtype=torch.float64))
        for width in scalable_widths(vector.model)
    ]
    model = scale_nodes(vector.model, nearest_powers_of_two(factors))
    return replace(vector, model=cast(nn.Sequential, model))  # a copy of one
