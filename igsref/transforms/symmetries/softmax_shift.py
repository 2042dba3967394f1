"""Softmax shift: the same row added to all rows of the last weight, a number to all its biases.

W + 1 vᵀ and b + c·1 add vᵀh + c to all logits of a sample: class differences, and with them the
softmax, stay as they are; the logits themselves do not.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from igsref.arguments import check_draw, check_number, check_tensor
from igsref.graph import channel_graph


def shift_softmax(
    model: nn.Module, direction: Float[Tensor, " features"], offset: float = 0.0
) -> nn.Module:
    """A copy whose logits are shifted in common by direction·h + offset, h the last features.

    direction: v, one entry per input of the last Linear; offset: c, for which it needs a bias.

    Raises TypeError for v that is no tensor, c that is no number; ValueError where the network's
    output is not that of a Linear whose tensors it uses once; where v has another length; where v
    or c is not finite; for c ≠ 0 without a bias.
    """
    check_tensor("direction", direction)
    check_number("offset", offset)
    changed = copy.deepcopy(model)
    head = _last_linear(changed)
    if direction.shape != (head.in_features,):
        raise ValueError(
            f"direction must have shape ({head.in_features},), the inputs of the last Linear; "
            f"got {tuple(direction.shape)}"
        )
    if not bool(direction.isfinite().all()) or not abs(offset) < float("inf"):
        raise ValueError("direction and offset must be finite")
    bias: Tensor | None = head.bias
    if bias is None and offset != 0:
        raise ValueError(f"offset must be 0: the last Linear has no bias; got {offset}")
    with torch.no_grad():
        head.weight.add_(direction.to(head.weight))
        if bias is not None:
            bias.add_(offset)
    return changed


def _last_linear(model: nn.Module) -> nn.Linear:
    name = channel_graph(model).head
    module = None if name is None else model.get_submodule(name)
    if not isinstance(module, nn.Linear):
        raise ValueError(
            "model must return the output of an nn.Linear, unchanged, whose weight and bias it "
            "uses nowhere else; the logits of this one cannot be shifted in common"
        )
    return module


def draw_softmax_shift(model: nn.Module, generator: torch.Generator, strength: float) -> nn.Module:
    """A copy with v and c of normal entries times 10^strength − 1: none at strength 0."""
    check_draw(generator, strength)
    head = _last_linear(model)
    entries = torch.randn(head.in_features + 1, generator=generator, dtype=torch.float64)
    entries = entries * (10.0**strength - 1)
    return shift_softmax(model, entries[1:], float(entries[0]) if head.bias is not None else 0.0)
