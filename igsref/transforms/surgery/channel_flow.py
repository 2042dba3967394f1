"""What one channel goes through between the layers that make it and those that read it.

The channel graph knows which calls treat the channels of a group alike. This pass over the same
calls follows one channel and says of what the next layer reads of it:

    alive      anything;
    negative   below zero on every input;
    idle       0 on every input, though its derivatives need not be;
    off        0 on every input, and so are its derivatives by all parameters before it.

ReLU turns negative into off; it leaves idle on its kink, which decides nothing. Where channels are
alike and yet depend on one another, or on how many they are, none can be added.
"""

import operator
from collections.abc import Callable
from enum import Enum

from torch import Tensor, fx, nn

from igsref.graph import ChannelGroup
from igsref.graph.tracing import calls, trace

# Types are compared exactly: a subclass may compute something else.
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POOLS = {f"{kind}pool{d}d" for kind in ("max", "avg", "adaptivemax", "adaptiveavg") for d in "12"}
_DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d"}
_MEANS = {"mean", "sum", *_POOLS}
# They keep what is 0, and what is below 0, with its derivatives.
_PASSIVE = {"identity", "flatten", "view", "reshape", *_MEANS, *_DROPOUTS}
_RECTIFIERS = {"relu", "relu6"}
_SUMS = {"add", "iadd"}
# Their results share no memory with what they read, unless they work in place.
_COPIES = {*_RECTIFIERS, *_SUMS, *_MEANS}
_SHAPES = {"size", "getattr"}
# torch.fx writes x += y down as x + y, though it overwrites x.
_IN_PLACE = (
    *(operator.add, operator.sub, operator.mul, operator.truediv),
    *(operator.iadd, operator.isub, operator.imul, operator.itruediv),
)


class Signal(Enum):
    """What is known of a channel on every input; of a sum, the first that a summand has."""

    ALIVE = "alive"
    NEGATIVE = "negative"
    IDLE = "idle"
    OFF = "off"


def follow(
    model: nn.Module, group: ChannelGroup, made: Callable[[nn.Module], Signal]
) -> list[tuple[str, Signal]]:
    """What layers that read the group's channels see of one of them: (layer's name, signal) a call.

    group: of ``channel_graph(model).permuted``, which vouches for all calls but those refused here.
    made: what a layer that makes the channel gives. BatchNorm with a shift is taken to be set to
        −1 for a channel that is not alive.

    Raises ValueError that names the call where channels depend on one another or on their number.
    """
    graph, root = trace(model)
    places = {(id(tensor_of(model, place.tensor)), place.axis) for place in group.places}
    seen: dict[fx.Node, Signal] = {}
    reads: list[tuple[str, Signal]] = []
    for node in calls(graph):
        module = _module(root, node)
        weight = id(module.weight) if module is not None and isinstance(module, LAYERS) else None
        signals = [seen[source] for source in node.all_input_nodes if source in seen]
        if (weight, 1) in places:
            reads.append((str(node.target), signals[0] if signals else Signal.ALIVE))
        elif signals and not _is_batch_size(node):
            seen[node] = _step(node, module, signals)
            if _in_place(node, module):
                _forget(node, root, seen)
        if module is not None and (weight, 0) in places:
            seen[node] = made(module)
    return reads


def tensor_of(model: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by name."""
    owner, _, child = name.rpartition(".")
    return getattr(model.get_submodule(owner), child)


def _module(root: nn.Module, node: fx.Node) -> nn.Module | None:
    return root.get_submodule(str(node.target)) if node.op == "call_module" else None


def _step(node: fx.Node, module: nn.Module | None, signals: list[Signal]) -> Signal:
    """What a call makes of the channel."""
    name = _name(node, module)
    if isinstance(module, nn.LayerNorm | nn.GroupNorm):
        raise ValueError(
            f"the channels pass {node.name!r}, a {type(module).__name__}, which takes the mean and "
            "variance of several of them; no unit can be added to them"
        )
    if name in _PASSIVE:
        return signals[0]
    if name in _RECTIFIERS:
        return {Signal.NEGATIVE: Signal.OFF, Signal.OFF: Signal.OFF}.get(signals[0], Signal.ALIVE)
    if module is not None and isinstance(module, NORMS):
        shifted = module.bias is not None and signals[0] is not Signal.ALIVE
        return Signal.NEGATIVE if shifted else signals[0]
    if name in _SUMS and len(signals) == len(node.args) and not node.kwargs:
        return _sum(signals)
    return Signal.ALIVE


def _name(node: fx.Node, module: nn.Module | None) -> str:
    """One name for the module, the function and the method of the same effect."""
    if module is not None:
        return type(module).__name__.lower()
    return getattr(node.target, "__name__", str(node.target)).replace("_", "")


def _sum(signals: list[Signal]) -> Signal:
    return min(signals, key=list(Signal).index)


def _is_batch_size(node: fx.Node) -> bool:
    """Whether the call is of a shape of which only the number of samples is used.

    Raises ValueError for other uses: a network may divide by its width, which is not kept.
    """
    if _name(node, None) not in _SHAPES or node.op == "call_module":
        return False
    entries = [node] if len(node.args) > 1 and node.op == "call_method" else list(node.users)
    if any(entry.args[1:] != (0,) for entry in entries):
        raise ValueError(
            f"the network computes with the shape of the channels' tensor, {node.name!r}, which "
            "one more would change; no unit can be added to them"
        )
    return True


def _in_place(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether the call may overwrite what it reads."""
    if module is not None:
        return bool(getattr(module, "inplace", False))
    name = getattr(node.target, "__name__", str(node.target))
    told = any(entry is True for entry in (*node.args, *node.kwargs.values()))
    return node.target in _IN_PLACE or name.endswith("_") or told


def _forget(node: fx.Node, root: nn.Module, seen: dict[fx.Node, Signal]) -> None:
    """After a call in place, nothing is known of what shares memory with its result."""
    overwritten = _memory(node, root)
    for other in seen.keys() - {node}:
        if _memory(other, root) is overwritten:
            seen[other] = Signal.ALIVE


def _memory(node: fx.Node, root: nn.Module) -> fx.Node:
    """The first result that may lie in the same memory."""
    while node.all_input_nodes:
        module = _module(root, node)
        fresh = isinstance(module, (*LAYERS, *NORMS)) or _name(node, module) in _COPIES
        if fresh and not _in_place(node, module):
            break
        node = node.all_input_nodes[0]
    return node
