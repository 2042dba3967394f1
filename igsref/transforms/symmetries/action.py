"""How factors and orders of channels act on the tensors of a network: on a copy, place by place.

A factor s_c multiplies what makes channel c and divides what reads it; an order moves both.
"""

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from igsref.arguments import check_sequence, check_type, described
from igsref.graph import ChannelGroup, Place, told

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
    bad = (~(size.isfinite() & (size != 0))).nonzero()
    if len(bad):
        channel = int(bad[0])
        raise ValueError(
            f"factors must be finite and not zero in {tensor.dtype}, the type of {place.tensor}; "
            f"that of its channel {channel} is {factor[channel].item()}"
        )
    scaled = operation(tensor, _spread(place, size, tensor))
    _check_range(place.tensor, tensor, scaled)
    tensor.copy_(scaled)


def _spread(place: Place, size: Tensor, tensor: Tensor) -> Tensor:
    """One number per channel, where the entries of each channel are."""
    if place.groups > 1:
        blocks = size.view(place.groups, 1, -1).expand(-1, len(tensor) // place.groups, -1)
        return blocks.reshape(*tensor.shape[:2], *[1] * (tensor.ndim - 2))
    spread = size[None, :, None].expand(place.outer, -1, place.inner).reshape(-1)
    return spread.view([-1 if axis == place.axis else 1 for axis in range(tensor.ndim)])


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
                rows = _rows(place, order.long())
                tensor.copy_(tensor.index_select(place.axis, rows.to(tensor.device)))
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
    """One real vector per group, one number per channel.

    Raises TypeError for what is no list of tensors; ValueError that shows the widths of both.
    """
    check_sequence(name, given, f"tensors, one per group of channels, of widths {widths(groups)}")
    for number, entry in enumerate(given):
        check_type(f"{name}[{number}]", entry, Tensor, "a torch.Tensor, one number per channel")
        if entry.ndim != 1 or entry.is_complex() or entry.dtype is torch.bool:
            raise ValueError(f"{name}[{number}] must be a real vector; got {described(entry)}")
    sizes = [len(entry) for entry in given]
    if sizes != widths(groups):
        raise ValueError(
            f"{name} must hold one entry per group of channels, of widths {widths(groups)}; "
            f"got {len(sizes)} of widths {sizes}"
        )


def refuse_channels(
    name: str, given: Sequence[Tensor], allowed: Callable[[Tensor], Tensor], requirement: str
) -> None:
    """Raise ValueError for the first channel whose number is not allowed."""
    for number, entry in enumerate(given):
        bad = (~allowed(entry)).nonzero()
        if len(bad):
            channel = int(bad[0])
            raise ValueError(
                f"{name} must be {requirement}; that of group {number}, channel {channel} "
                f"is {entry[channel].item()}"
            )


def check_place(groups: Sequence[ChannelGroup], what: str, hindrances: Iterable[str]) -> None:
    """Refuse a network without a group to act on, and name what is in the way."""
    if not groups:
        raise ValueError(
            f"model has no channels that can be {what}; in the way: "
            f"{told(hindrances) or 'it makes none'}"
        )
