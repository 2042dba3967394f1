"""One channel more in a group of channels that must change together.

Every tensor of the group grows by one entry along its channel axis: weights and biases of the
layers that make the channels, the four tensors of the BatchNorms between, columns of the layers
that read them (H·W columns each after flattening maps of H×W).
"""

import copy
import re
from collections.abc import Callable, Mapping
from enum import Enum

import torch
from torch import Tensor, nn

from igsref.arguments import check_generator, check_type
from igsref.graph import ChannelGroup, Place, channel_graph, told
from igsref.graph.tracing import trace
from igsref.transforms.surgery.channel_flow import LAYERS, NORMS, Signal, follow, tensor_of


class Part(Enum):
    """What an entry of a tensor is to a channel."""

    INCOMING = "weights into it"
    BIAS = "its bias"
    OUTGOING = "weights out of it"
    GAIN = "γ of BatchNorm"
    SHIFT = "β of BatchNorm"
    MEAN = "μ of BatchNorm"
    VARIANCE = "σ² of BatchNorm"


_NORM_PARTS = {
    "weight": Part.GAIN,
    "bias": Part.SHIFT,
    "running_mean": Part.MEAN,
    "running_var": Part.VARIANCE,
}
Growth = Callable[[Part, Tensor], Tensor]
"""Part, entries (channels, …) ↦ entries (channels + 1, …)."""


def growable_groups(model: nn.Module) -> dict[str, ChannelGroup]:
    """Layers whose units can be copied or added to, by name, each with its group of channels.

    Raises ValueError for a model that cannot be traced.
    """
    found: dict[str, ChannelGroup] = {}
    for group in channel_graph(model).permuted:
        if _obstacle(model, group) is None:
            found |= {name: group for name in _makers(model, group)}
    return found


def find_group(model: nn.Module, layer: str) -> ChannelGroup:
    """The group of channels that a layer makes.

    Raises TypeError for what is no name; ValueError, with what there is, unless its units can be
    copied or added to.
    """
    check_type("layer", layer, str, "the name of a layer")
    found = growable_groups(model)
    if layer in found:
        return found[layer]
    known = f"layers that have some: {', '.join(map(repr, found)) or 'none'}"
    if layer not in dict(model.named_modules()):
        raise ValueError(
            f"layer must name one whose hidden units can be changed; {known}; got {layer!r}, which "
            "is no module of the model"
        )
    graph = channel_graph(model)
    for group in graph.permuted:
        if layer in _makers(model, group):
            raise ValueError(f"layer {layer!r}: {_obstacle(model, group)}")
    raise ValueError(
        f"layer {layer!r} has no hidden units that could be changed; {known}; "
        f"in the way of others: {told(graph.stops)}"
    )


def draw_layer(model: nn.Module, generator: torch.Generator) -> str:
    """The name of a random layer to whose units one can be added.

    Raises TypeError for what is no generator; ValueError where there is none.
    """
    check_generator(generator)
    names = list(growable_groups(model))
    if not names:
        raise ValueError("model has no layer with hidden units that could be copied or added to")
    return names[int(torch.randint(len(names), (), generator=generator))]


def grow(model: nn.Module, group: ChannelGroup, growth: Growth) -> nn.Module:
    """A copy of the model in which every tensor of the group has grown by one channel, the last.

    Raises ValueError where the network then makes other calls: it computes with its own widths.
    """
    grown = copy.deepcopy(model)
    # Producers come first: in a matrix that makes and reads the channels, what leads from the new
    # channel to itself is a weight out of it.
    for place in group.places:
        _replace(
            grown,
            place,
            _grow_axis(tensor_of(grown, place.tensor), place, _part(grown, place), growth),
        )
    _check_calls(model, grown)
    return grown


def _check_calls(model: nn.Module, grown: nn.Module) -> None:
    (before, stored), (after, stored_now) = _described_calls(model), _described_calls(grown)
    same = before == after and all(map(torch.equal, stored, stored_now))
    if not same:
        raise ValueError(
            "model computes with the widths of its layers (such as in_features), which one more "
            "unit changes; its function would not be kept"
        )


def _described_calls(model: nn.Module) -> tuple[str, list[Tensor]]:
    """All calls with their arguments as text, and the tensors that are used outside layers."""
    graph, root = trace(model)
    stored = [tensor_of(root, str(node.target)) for node in graph.nodes if node.op == "get_attr"]
    # Tensors that are made in the forward are numbered anew by every trace.
    return re.sub(r"_tensor_constant\d+", "_tensor_constant", str(graph)), stored


def appended(entries: Tensor, new: Tensor | float) -> Tensor:
    """Entries (channels, …) with those of one further channel, drawn or all the same."""
    return torch.cat([entries, torch.as_tensor(new).to(entries).expand_as(entries[:1])])


def drawn(fixed: Mapping[Part, float], generator: torch.Generator) -> Growth:
    """A channel with the given entries where a part has one, and normal ones in all others.

    Raises TypeError for what is no generator.
    """
    check_generator(generator)

    def growth(part: Part, entries: Tensor) -> Tensor:
        new = fixed[part] if part in fixed else normal_entries(entries, generator)
        return appended(entries, new)

    return growth


def normal_entries(entries: Tensor, generator: torch.Generator) -> Tensor:
    """Entries of one channel, normal, as large as those of the others (root of the mean square)."""
    draw = torch.randn(
        entries[:1].shape, generator=generator, device=generator.device, dtype=torch.float64
    ).to(entries)
    size = float(entries.double().square().mean().sqrt())
    return draw * (size if size > 0 else 1.0)


def _grow_axis(value: Tensor, place: Place, part: Part, growth: Growth) -> Tensor:
    split = value.detach().unflatten(place.axis, (place.outer, -1, place.inner))
    entries = growth(part, split.movedim(place.axis + 1, 0))
    return entries.movedim(0, place.axis + 1).flatten(place.axis, place.axis + 2)


def _part(model: nn.Module, place: Place) -> Part:
    owner, _, name = place.tensor.rpartition(".")
    if isinstance(model.get_submodule(owner), NORMS):
        return _NORM_PARTS[name]
    if place.axis == 1:
        return Part.OUTGOING
    return Part.BIAS if name == "bias" else Part.INCOMING


def _obstacle(model: nn.Module, group: ChannelGroup) -> str | None:
    """Why the group cannot grow, if it cannot."""
    tensors = {id(tensor_of(model, place.tensor)) for place in group.places}
    for name, owner in model.named_modules():
        held = (*owner._parameters.values(), *owner._buffers.values())
        if not tensors.intersection(map(id, held)):
            continue
        if type(owner) not in (*LAYERS, *NORMS):
            return f"its channels go through {name!r}, a {type(owner).__name__}"
        if getattr(owner, "groups", 1) != 1:
            return f"its channels go through {name!r}, a {type(owner).__name__} in groups"
    try:
        follow(model, group, lambda layer: Signal.ALIVE)
    except ValueError as error:
        return str(error)
    return None


def _makers(model: nn.Module, group: ChannelGroup) -> list[str]:
    """Names of the layers whose outputs are the group's channels."""
    rows = {id(tensor_of(model, p.tensor)) for p in group.places if p.axis == 0}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, LAYERS) and id(module.weight) in rows
    ]


def _replace(model: nn.Module, place: Place, value: Tensor) -> None:
    """Put a tensor in its place, wherever it stands, and correct what the modules say of sizes."""
    old = tensor_of(model, place.tensor)
    new = nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value
    for module in model.modules():
        held = [*module._parameters.items(), *module._buffers.items()]
        for name in [name for name, tensor in held if tensor is old]:
            setattr(module, name, new)
            _note_size(module, name, place.axis, value.shape[place.axis])


def _note_size(module: nn.Module, name: str, axis: int, size: int) -> None:
    if isinstance(module, NORMS):
        module.num_features = size
    elif name == "weight":
        end = "out" if axis == 0 else "in"
        setattr(
            module, f"{end}_{'features' if isinstance(module, nn.Linear) else 'channels'}", size
        )
