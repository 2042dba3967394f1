"""θ as one vector and back: entries in the order of its named tensors, each in row-major order."""

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor


def flatten(named: Mapping[str, Tensor]) -> Shaped[Tensor, " params"]:
    """All entries in one vector, (m,).

    >>> flatten({"weight": torch.tensor([[1, 2], [3, 4]]), "bias": torch.tensor([5])})
    tensor([1, 2, 3, 4, 5])
    """
    return torch.cat([value.reshape(-1) for value in named.values()])


def unflatten(
    flat: Shaped[Tensor, " params"], like: Mapping[str, Tensor]
) -> dict[str, Shaped[Tensor, "..."]]:
    """The vector's entries under the names and in the shapes of ``like``.

    Raises ValueError where the number of entries differs.
    """
    sizes = [value.numel() for value in like.values()]
    if flat.shape != (sum(sizes),):
        raise ValueError(f"flat must have shape ({sum(sizes)},); got {tuple(flat.shape)}")
    parts = flat.split(sizes)
    return {
        name: part.reshape(value.shape)
        for (name, value), part in zip(like.items(), parts, strict=True)
    }


def ranges(named: Mapping[str, Tensor]) -> dict[str, slice]:
    """Which entries of the vector each tensor has.

    >>> ranges({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)})["bias"]
    slice(4, 6, None)
    """
    out, start = {}, 0
    for name, value in named.items():
        out[name] = slice(start, start + value.numel())
        start += value.numel()
    return out
