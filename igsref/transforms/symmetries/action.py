"""How factors and orders of channels act on the tensors of a network: on a copy, place by place.

A factor s_c multiplies what makes channel c and divides what reads it; an order moves both.
"""

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from igsref.transforms.graph import ChannelGroup, Place

Operation = Callable[[Tensor, Tensor], Tensor]


def multiply(
    model: nn.Module, groups: Sequence[ChannelGroup], factors: Sequence[Float[Tensor, "_"]]
) -> nn.Module:
    """A copy whose channels are multiplied by the factors and divided where they are read.

    factors: one tensor per group, one number other than 0 per channel.

    Raises ValueError where a factor is zero or infinite in the tensors' type, or where a product
    overflows or underflows: the function would not be kept.
    """
    changed = copy.deepcopy(model)
    tensors = named_tensors(changed)
    with torch.no_grad():
        for group, factor in zip(groups, factors, strict=True):
            for place in group.producers:
                _scale(tensors, place, factor, torch.mul)
            for place in group.consumers:
                _scale(tensors, place, factor, torch.div)
    return changed


def _scale(tensors: dict[str, Tensor], place: Place, factor: Tensor, operation: Operation) -> None:
    tensor = tensors[place.tensor]
    size = factor.to(tensor)
    if not bool((size.isfinite() & (size != 0)).all()):
        raise ValueError(
            f"factors must be finite and not zero in {tensor.dtype}, the type of {place.tensor}; "
            f"got {factor.tolist()}"
        )
    spread = size[None, :, None].expand(place.outer, -1, place.inner).reshape(-1)
    shape = [-1 if axis == place.axis else 1 for axis in range(tensor.ndim)]
    scaled = operation(tensor, spread.view(shape))
    _check_range(place.tensor, tensor, scaled)
    tensor.copy_(scaled)


def _check_range(name: str, before: Tensor, after: Tensor) -> None:
    tiny = torch.finfo(before.dtype).tiny
    lost = (after.abs() < tiny) & (before.abs() >= tiny)
    if bool(lost.any()) or bool((before.isfinite() & ~after.isfinite()).any()):
        raise ValueError(
            f"factors make {name} overflow or underflow, and the function would not be kept; "
            "give factors nearer to 1"
        )


def reorder(
    model: nn.Module, groups: Sequence[ChannelGroup], orders: Sequence[Int64[Tensor, "_"]]
) -> nn.Module:
    """A copy whose channel c is the given model's channel order[c]."""
    changed = copy.deepcopy(model)
    tensors = named_tensors(changed)
    with torch.no_grad():
        for group, order in zip(groups, orders, strict=True):
            for place in group.places:
                tensor = tensors[place.tensor]
                tensor.copy_(tensor.index_select(place.axis, _rows(place, order).to(tensor.device)))
    return changed


def _rows(place: Place, order: Tensor) -> Tensor:
    """The order of the entries on an axis that is read as (outer, size, inner)."""
    entries = torch.arange(place.outer * len(order) * place.inner)
    return entries.view(place.outer, len(order), place.inner)[:, order.cpu()].reshape(-1)


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(model.named_buffers()), **dict(model.named_parameters())}


def widths(groups: Sequence[ChannelGroup]) -> list[int]:
    """The number of channels of every group."""
    return [group.size for group in groups]


def check_fit(name: str, given: Sequence[Tensor], groups: Sequence[ChannelGroup]) -> None:
    """One entry per group, one number per channel; raises ValueError that shows both."""
    sizes = [len(entry) for entry in given]
    if sizes != widths(groups):
        raise ValueError(
            f"{name} must hold one entry per group of channels, of widths {widths(groups)}; "
            f"got {len(sizes)} of widths {sizes}"
        )


def check_place(groups: Sequence[ChannelGroup], what: str, hindrances: Iterable[str]) -> None:
    """Refuse a network without a group to act on, and name what is in the way."""
    if not groups:
        raise ValueError(
            f"model has no channels that can be {what}; in the way: "
            f"{'; '.join(dict.fromkeys(hindrances)) or 'it makes none'}"
        )


def check_strength(strength: float) -> None:
    """Draws take a finite strength, zero or above."""
    if not 0 <= strength < float("inf"):
        raise ValueError(f"strength must be finite and not negative; got {strength}")
