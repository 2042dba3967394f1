"""What one channel goes through between the layers that make it and those that read it.

A unit may be copied or added where each channel is treated on its own, and alike: then its fellows
see nothing of it. A pass over the calls of the network follows the channels of a group and says of
a channel that a layer makes what the next layer reads of it:

    alive      anything;
    negative   below zero on every input;
    idle       0 on every input, though its derivatives need not be;
    off        0 on every input, and so are its derivatives by all parameters before it.

ReLU turns negative into off; it leaves idle on its kink, which decides nothing.
"""

import operator
from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from igsref.transforms.graph.groups import ChannelGroup
from igsref.transforms.graph.tracing import calls, trace

# Types are compared exactly: a subclass may compute something else.
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_RECTIFIERS = (nn.ReLU, nn.ReLU6, F.relu, F.relu6, torch.relu, "relu")
_ELEMENTWISE = (
    *(nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign),
    *(nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
    *(F.leaky_relu, F.elu, F.gelu, F.silu, F.softplus, F.tanh, F.sigmoid),
    *(torch.tanh, torch.sigmoid, "tanh", "sigmoid"),
)
_PASSIVE = (
    *(nn.Identity, nn.Flatten, torch.flatten, "flatten"),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(F.avg_pool2d, F.max_pool2d, F.adaptive_avg_pool2d),
)
_SUMS = (operator.add, operator.iadd, torch.add, "add")


class Signal(Enum):
    """What is known of a channel on every input."""

    ALIVE = "alive"
    NEGATIVE = "negative"
    IDLE = "idle"
    OFF = "off"


def follow(
    model: nn.Module, group: ChannelGroup, made: Callable[[nn.Module], Signal]
) -> dict[str, Signal]:
    """What each layer that reads the group's channels sees of one of them, by the layer's name.

    made: what a layer that makes the channel gives. BatchNorm with a shift is taken to be set to
        −1 for a channel that is not alive.

    Raises ValueError that names the call where the channels are not treated each on its own.
    """
    graph, root = trace(model)
    tensors = _tensors(model)
    axes = {(id(tensors[place.tensor]), place.axis) for place in group.places}
    seen: dict[fx.Node, Signal] = {}
    reads: dict[str, Signal] = {}
    for node in calls(graph):
        module = root.get_submodule(str(node.target)) if node.op == "call_module" else None
        weight = module.weight if isinstance(module, LAYERS) else None
        signals = [seen[source] for source in node.all_input_nodes if source in seen]
        if weight is not None and module is not None and (id(weight), 1) in axes:
            reads[str(node.target)] = signals[0] if signals else Signal.ALIVE
        elif signals:
            seen[node] = _step(node, module, signals)
        if weight is not None and module is not None and (id(weight), 0) in axes:
            seen[node] = made(module)
    return reads


def _step(node: fx.Node, module: nn.Module | None, signals: list[Signal]) -> Signal:
    """What a call makes of the channel."""
    what = node.target if module is None else type(module)
    if what in _PASSIVE:
        return signals[0]
    if what in _RECTIFIERS:
        return {Signal.NEGATIVE: Signal.OFF, Signal.OFF: Signal.OFF}.get(signals[0], Signal.ALIVE)
    if what in _ELEMENTWISE:
        return Signal.ALIVE
    if what in NORMS and module is not None:
        shifted = module.bias is not None and signals[0] is not Signal.ALIVE
        return Signal.NEGATIVE if shifted else signals[0]
    if what in _SUMS:
        return _sum(signals, complete=len(signals) == len(node.args))
    name = getattr(what, "__name__", str(what))
    raise ValueError(
        f"the channels pass {node.name!r}, a {name}, which is not known to treat them alike and "
        "each on its own; no unit can be added to them"
    )


def _sum(signals: list[Signal], *, complete: bool) -> Signal:
    """Of a sum; complete: whether all that is added is among the signals."""
    if Signal.ALIVE in signals or not complete:
        return Signal.ALIVE
    return next(s for s in (Signal.NEGATIVE, Signal.IDLE, Signal.OFF) if s in signals)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
