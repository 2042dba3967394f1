"""The channel groups of a network, found in one pass over its calls.

Every call is looked up by its layer's type, its function or its method; one that is not known
keeps what it reads, and what it returns, as it is.
"""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from igsref.graph.functions import FUNCTIONS, METHODS
from igsref.graph.groups import ChannelGraph
from igsref.graph.layers import LAYERS
from igsref.graph.ledger import Stop
from igsref.graph.tracing import WITHOUT_GRADIENT, calls, is_altered, trace
from igsref.graph.values import Rank, Unknown, Value
from igsref.graph.walk import Walk, as_value

_OUTPUT = "an output of the network"


def channel_graph(model: nn.Module, axes: Mapping[str, int] | None = None) -> ChannelGraph:
    """Which channels of a network may be scaled, change sign or be permuted, and what stops others.

    Known are Linear, convolutions, BatchNorm in evaluation mode, LayerNorm, GroupNorm, activations,
    sums, pooling, means over positions, flattening, embeddings, attention as a whole. The first
    axis of inputs is the batch's, and the network returns logits (N, C); optional arguments of its
    forward stand at their defaults. Buffers count as constants of the function: the μ of a
    BatchNorm is scaled with what it centres.

    axes: how many axes inputs have, by the names of the forward's arguments, where that is known.

    Raises TypeError for what is no module; ValueError for what torch.fx cannot trace.

    >>> graph = channel_graph(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)))
    >>> graph.scaled[0].size, [place.tensor for place in graph.scaled[0].places]
    (5, ['0.weight', '0.bias', '2.weight'])
    """
    graph, root = trace(model)
    walk = Walk(_names(model), {id(module): name for name, module in model.named_modules()})
    _fix_shared_storage(model, walk)
    values: dict[fx.Node, Any] = {}
    head: Value | None = None
    for node in calls(graph):
        if node.op == "output":
            head = _leave(walk, node.args[0], values)
        elif node.op == "placeholder":
            values[node] = _input(walk, str(node.target), axes or {})
        else:
            found = _enter(walk, node, values, root)
            alone = len(node.users) == 1 or not isinstance(found, Value)
            values[node] = found if alone else replace(found, maker=None, logits_of=None)
    return _conclude(walk, head)


def _input(walk: Walk, name: str, axes: Mapping[str, int]) -> Value:
    rank = Rank.of(axes[name]) if name in axes else Rank()
    return Value(walk.stopped(f"{name} is an input of the network"), None, rank)


def _names(model: nn.Module) -> dict[int, str]:
    """Every tensor's first name, by identity."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {id(tensor): name for name, tensor in reversed(named)}


def _fix_shared_storage(model: nn.Module, walk: Walk) -> None:
    """Different tensors that share memory: a change of one would change the other."""
    first: dict[int, str] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.layout is not torch.strided:
            continue  # it has no storage of this kind to share
        address = tensor.untyped_storage().data_ptr()
        if address and first.setdefault(address, name) != name:
            for shared in (name, first[address]):
                walk.ledger.fix(shared, f"{first[address]} and {name} share memory")


def _enter(walk: Walk, node: fx.Node, values: dict[fx.Node, Any], root: nn.Module) -> Any:
    """What is known of the result of a call."""
    if node.op == "get_attr":
        return _stored(walk, node, root)
    module = root.get_submodule(str(node.target)) if node.op == "call_module" else None
    walk.label = _label(walk, node, module)
    args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), lambda entry: values[entry])
    try:
        return _looked_up(walk, node, module)(*args, **kwargs)
    except Unknown as error:
        reason = f"{walk.label} {error.reason}"
    if module is not None:
        walk.fix(module, reason)
    return walk.opaque((values[entry] for entry in node.all_input_nodes), reason)


def _stored(walk: Walk, node: fx.Node, root: nn.Module) -> Value:
    """A tensor that the network uses by itself: it may do anything with it."""
    tensor: Any = root
    for part in str(node.target).split("."):
        tensor = getattr(tensor, part)
    name = walk.tensors.get(id(tensor), str(node.target))
    reason = f"{name} is used outside a layer"
    if isinstance(tensor, Tensor):
        walk.ledger.fix(name, reason)
    return Value(walk.stopped(reason), None, Rank())


def _label(walk: Walk, node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return f"{walk.modules[id(module)] or 'model'} ({type(module).__name__})"
    target = node.target if isinstance(node.target, str) else torch.typename(node.target)
    return f"{node.name} ({getattr(node.target, '__name__', target)})"


def _looked_up(walk: Walk, node: fx.Node, module: nn.Module | None) -> Any:
    """The call's rule with its first arguments in place; Unknown if there is none that fits."""
    first: list[Any]
    if module is None:
        rules: Any = FUNCTIONS if node.op == "call_function" else METHODS
        rule, first = rules.get(node.target), [walk]
    else:
        rule, first = (None if is_altered(module) else LAYERS.get(type(module))), [walk, module]

    def call(*args: Any, **kwargs: Any) -> Any:
        if node.meta.get(WITHOUT_GRADIENT):
            raise Unknown("is called without gradients")
        try:
            bound = inspect.signature(rule).bind(*first, *args, **kwargs)
        except TypeError:
            raise Unknown("is called in a way that is unknown here") from None
        for name, given in bound.arguments.items():
            if bound.signature.parameters[name].annotation is Value:
                as_value(given)
        return rule(*bound.args, **bound.kwargs)

    if rule is None:
        raise Unknown
    return call


def _leave(walk: Walk, returned: Any, values: dict[fx.Node, Any]) -> Value | None:
    """Stop what the network returns; the result itself, if it is one."""
    found: list[Any] = []
    fx.node.map_arg(returned, lambda entry: found.append(values[entry]))
    walk.opaque(found, _OUTPUT)
    if not isinstance(returned, fx.Node) or not isinstance(found[0], Value):
        return None
    if found[0].rank.known is None:
        found[0].rank.require(2)
    return found[0]


def _conclude(walk: Walk, output: Value | None) -> ChannelGraph:
    ledger = walk.ledger
    failed = {
        signal: reason
        for rank, allowed, signal, reason in walk.demands
        if rank.known not in allowed
    }
    for signal, reason in failed.items():
        ledger.stop(Stop.ALL, signal, reason)
    ledger.settle()
    reasons = (reason for what, _, reason in ledger.stops if what in (Stop.ALL, Stop.PERMUTING))
    return ChannelGraph(
        scaled=ledger.groups(ledger.scaled, Stop.ALL),
        permuted=ledger.groups(ledger.permuted, Stop.ALL, Stop.PERMUTING),
        stops=tuple(dict.fromkeys(reasons)),
        head=_free_head(walk, output),
        shifts=tuple(
            shift
            for signal, shift in ledger.shifts
            if signal not in failed and all(map(ledger.used_once, shift.tensors))
        ),
    )


def _free_head(walk: Walk, output: Value | None) -> str | None:
    """The output's Linear, if all that is done with its result and tensors is to return it."""
    last = None if output is None else output.maker or output.logits_of
    if output is None or not isinstance(last, nn.Linear):
        return None
    ledger = walk.ledger
    tensors = [
        tensor
        for tensor, uses in ledger.uses.items()
        if any(hold.signal == output.signal for use in uses for hold in use)
    ]
    set_of = ledger.scaled.root(output.signal)
    alone = [ledger.scaled.root(s) for s in range(len(ledger.sizes))].count(set_of) == 1
    stops = ((reason, signal) for what, signal, reason in ledger.stops if what is Stop.ALL)
    reasons = {reason for reason, signal in stops if signal == output.signal}
    once = all(map(ledger.used_once, tensors))
    return walk.modules[id(last)] if alone and once and reasons <= {_OUTPUT} else None
