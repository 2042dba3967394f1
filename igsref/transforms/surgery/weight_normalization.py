"""Weight normalisation: every unit's weights as a length times a direction, w = g·v/‖v‖.

Salimans and Kingma, "Weight Normalization", NeurIPS 2016, equation (2). The network is the same
function of the same inputs with one more parameter for each unit.

**What it does.** m grows by one per unit; range(A) and IGS stay. *Proof.* A unit's weights
w ∈ R^d are a function of (g, v) with the Jacobian

    ∂w/∂g = v/‖v‖,      ∂w/∂v = (g/‖v‖)(I − vvᵀ/‖v‖²).

For g ≠ 0 the second has the range v^⊥, and the first adds v: all of R^d. So the map from the new
parameters to the old ones has a Jacobian Φ of full row rank, the new factor is AΦ, and range(AΦ) =
range(A). At g = 0, w = 0, the second vanishes and range(A) could shrink: such units are refused.
Proposition 3.1 of the paper on IGS needs a bijection and does not cover this.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from igsref.arguments import check_generator, check_model, check_sequence, check_type
from igsref.transforms.surgery.channel_flow import LAYERS


class LengthAndDirection(nn.Module):
    """w = g·v/‖v‖, a row or filter at a time, for ``torch.nn.utils.parametrize``.

    The same as torch's own ``weight_norm``, in operations that have forward-mode derivatives and
    batching rules, which Hessians use and torch's own lacks.
    """

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        """The weights (units, …) of lengths (units, 1, …, 1) and directions (units, …)."""
        return length * direction / _lengths(direction)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """g = ‖w‖ and v = w."""
        return _lengths(weight), weight


def normalize_weights(model: nn.Module, layers: str | Sequence[str] | None = None) -> nn.Module:
    """A copy with w = g·v/‖v‖ in the chosen layers, one g for each output unit or channel.

    layers: name(s) of ``Linear`` or ``Conv`` layers, as ``model.named_modules()`` gives them; all
        of them unless given. v starts as w and g as ‖w‖, so that the function stays.

    IGS is unchanged (proof above), and so is every measure that range(A) and the outputs determine.
    What the weights' own coordinates enter moves: Tr H, λmax(H), norms.

    Raises TypeError for what is no model or no names; ValueError for a name that is no such layer,
    a layer whose weights are parametrised already or shared, and a unit without non-zero weights
    (g = 0).

    >>> normalized = normalize_weights(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)))
    >>> sum(value.numel() for value in normalized.parameters())  # 33, and one for each of 8 units
    41
    """
    check_model(model)
    normalized = copy.deepcopy(model)
    for name in _chosen(normalized, layers):
        layer = _layers(normalized)[name]
        parametrize.register_parametrization(layer, "weight", LengthAndDirection())
    return normalized


def _lengths(weight: Tensor) -> Tensor:
    axes = tuple(range(1, weight.ndim))
    return torch.linalg.vector_norm(weight, dim=axes, keepdim=True)


def draw_normalize_weights(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """:func:`normalize_weights` of a random non-empty choice of the layers that allow it.

    Raises ValueError where none does.
    """
    check_model(model)
    check_generator(generator)
    names = [name for name, layer in _layers(model).items() if _obstacle(model, layer) is None]
    if not names:
        _chosen(model, None)
    count = int(torch.randint(1, len(names) + 1, (), generator=generator))
    order = torch.randperm(len(names), generator=generator).tolist()
    return normalize_weights(model, [names[i] for i in order[:count]])


def _layers(model: nn.Module) -> dict[str, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LAYERS)}


def _chosen(model: nn.Module, layers: str | Sequence[str] | None) -> list[str]:
    """Names of the layers to normalise, each once."""
    found = _layers(model)
    if not found:
        raise ValueError("model has no Linear or Conv layer whose weights could be normalised")
    if layers is not None:
        check_sequence("layers", layers, "names of layers")
    names = [layers] if isinstance(layers, str) else list(found) if layers is None else list(layers)
    if not names:
        raise ValueError("layers must hold at least one name; got none")
    for name in names:
        check_type("layers", name, str, "names of layers")
        if name not in found:
            raise ValueError(
                f"layers: {name!r} is no Linear or Conv layer of the model; "
                f"it has {', '.join(map(repr, found))}"
            )
        obstacle = _obstacle(model, found[name])
        if obstacle is not None:
            raise ValueError(f"layers: the weights of {name!r} {obstacle}")
    return list(dict.fromkeys(names))


def _obstacle(model: nn.Module, layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) -> str | None:
    """Why the layer's weights cannot be given coordinates of their own, if they cannot."""
    if parametrize.is_parametrized(layer, "weight"):
        return "are parametrised already"
    holders = [name for name, value in _all_named(model) if value is layer.weight]
    if len(holders) > 1:
        return f"are shared, under the names {', '.join(holders)}"
    lengths = _lengths(layer.weight.detach()).flatten().tolist()
    bad = [unit for unit, length in enumerate(lengths) if not 0 < length < float("inf")]
    if bad:
        return f"have length {lengths[bad[0]]} for unit {bad[0]}: no direction v/‖v‖ with g ≠ 0"
    return None


def _all_named(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        (f"{prefix}.{name}" if prefix else name, value)
        for prefix, module in model.named_modules()
        for name, value in module.named_parameters(recurse=False, remove_duplicate=False)
    ]
