"""Operators that are known by their products alone, and the random vectors they are asked about."""

from collections.abc import Callable
from typing import SupportsIndex

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.arguments import check_tensor, checked_integer

Product = Callable[[Float64[Tensor, "m k"]], Float64[Tensor, "m k"]]
"""V ↦ A V for a block of columns, float64, on their device."""


def applied(product: Product, columns: Float64[Tensor, "m k"]) -> Float64[Tensor, "m k"]:
    """A V, checked: a tensor of V's shape, dtype and device, all of it finite.

    Raises TypeError for another type or dtype, ValueError otherwise.
    """
    image = product(columns)
    check_tensor("the result of product", image)
    if image.dtype != torch.float64:
        raise TypeError(f"product must give float64; got {image.dtype}")
    if image.shape != columns.shape or image.device != columns.device:
        raise ValueError(
            f"product must give the shape and device of its argument, {tuple(columns.shape)} on "
            f"{columns.device}; got {tuple(image.shape)} on {image.device}"
        )
    if not bool(image.isfinite().all()):
        raise ValueError("product must give finite numbers; got some that are not")
    return image


def random_signs(generator: torch.Generator, size: int, count: int) -> Float64[Tensor, "m k"]:
    """Columns of random signs, drawn on the CPU: the same on every device."""
    return 2.0 * torch.randint(2, (size, count), generator=generator).double() - 1.0


def seeded(seed: SupportsIndex) -> torch.Generator:
    """A generator of its own. Raises ValueError for a seed outside [0, 2⁶⁴)."""
    number = checked_integer("seed", seed, least=0)
    if number >= 2**64:
        raise ValueError(f"seed must be below 2**64; got {number}")
    return torch.Generator().manual_seed(number)
