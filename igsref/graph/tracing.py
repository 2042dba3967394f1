"""The calls that a network makes, by torch.fx: its layers are leaves, all else is seen through."""

import inspect
import operator
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx._symbolic_trace import _assert_is_none
from torch.nn.utils import parametrize

from igsref.arguments import check_model
from igsref.randomness import preserved_random_state

_CHECKS = (torch._assert, _assert_is_none)
WITHOUT_GRADIENT = "without_gradient"
"""Key of a node's ``meta``: True for a call that the network makes under ``torch.no_grad``."""


class LayerTracer(fx.Tracer):
    """A tracer whose leaves are torch's own layers and all that hooks or parametrisations touch."""

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """A node that knows whether autograd would be told of its call."""
        node = super().create_node(*args, **kwargs)
        told = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        node.meta[WITHOUT_GRADIENT] = not told
        return node

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a call of the module is one node."""
        return is_altered(m) or super().is_leaf_module(m, module_qualified_name)


def is_altered(module: nn.Module) -> bool:
    """Whether a call of the module runs other code than its class's own forward."""
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    called = type(module).__call__ is not nn.Module.__call__
    own = called or "forward" in vars(module)
    return any(hooks) or own or parametrize.is_parametrized(module)


def trace(model: nn.Module) -> tuple[fx.Graph, nn.Module]:
    """The calls in their order, and the module in which the names of the nodes are found.

    Optional arguments of the model's forward stand at their defaults. The model is left as it was:
    tensors that its forward makes are held by the module that is returned, under the names of their
    nodes; that module has the model's own layers and tensors.

    Raises TypeError for what is no module; ValueError for a model that torch.fx cannot trace,
    with its reason.
    """
    check_model(model)
    tracer = LayerTracer()
    # A leaf would be seen through if it were the root.
    root = nn.Sequential(model) if tracer.is_leaf_module(model, "") else model
    try:
        with preserved_random_state(), _restored(root), _as_it_is_differentiated():
            graph = tracer.trace(root, concrete_args=_defaults(root))
            return graph, _with_what_it_holds(root)
    except Exception as error:
        raise ValueError(
            "model cannot be traced by torch.fx, so its channels are not known: "
            f"{type(error).__name__}: {error}"
        ) from error


def replay(
    model: nn.Module, values: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What the trace gives for inputs, with other values of parameters and buffers, by name.

    Another result than the model's shows that the trace is not of what the model computes: a branch
    that asks for types, or a number made of parameters while it was traced.

    Raises ValueError as :func:`trace` does.
    """
    graph, root = trace(model)
    traced = fx.GraphModule(root, graph)
    names = {id(own): name for name, own in _tensors(model)}
    held = ((name, names.get(id(own), "")) for name, own in _tensors(traced))
    replaced = {name: values[own] for name, own in held if own in values}
    return torch.func.functional_call(traced, replaced, args, kwargs)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


@contextmanager
def _as_it_is_differentiated() -> Iterator[None]:
    """Modes of torch's own calls, and no formulas for gradients that no node would show.

    torch.func takes no notice of a caller's ``no_grad``, and so nor may the trace.
    """

    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError("it calls a torch.autograd.Function, whose gradient may be any")

    before = torch.autograd.Function.__dict__["apply"]
    torch.autograd.Function.apply = refuse  # type: ignore[method-assign]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.autograd.Function.apply = before  # type: ignore[method-assign]


@contextmanager
def _restored(root: nn.Module) -> Iterator[None]:
    """Give all modules their attributes, lists, dictionaries and buffers back as they were."""
    attributes = [vars(module) for module in root.modules()]
    held = [value for own in attributes for value in (own, *own.values())]
    # Of exactly these types: others may not be filled again by update or extend.
    before = {id(v): (v, v.copy()) for v in held if type(v) in (dict, OrderedDict, list)}
    buffers = [(b, b._version, b.clone()) for b in root.buffers() if not b.is_inference()]
    try:
        yield
    finally:
        for value, content in before.values():
            value.clear()
            (value.extend if isinstance(value, list) else value.update)(content)
        for buffer, version, values in buffers:
            if buffer._version != version:
                buffer.data.copy_(values)


def _with_what_it_holds(root: nn.Module) -> nn.Module:
    """Another module with the attributes of the given one as they are now."""
    holder = nn.Module.__new__(type(root))
    vars(holder).update(vars(root))
    return holder


def _defaults(model: nn.Module) -> dict[str, Any]:
    arguments = list(inspect.signature(model.forward).parameters.values())[1:]
    return {a.name: a.default for a in arguments if a.default is not inspect.Parameter.empty}


def calls(graph: fx.Graph) -> list[fx.Node]:
    """The nodes in order, without assertions and what is compared for them only."""
    idle: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        compared = node.target is operator.eq and all(user in idle for user in node.users)
        if node.target in _CHECKS or compared:
            idle.add(node)
    return [node for node in graph.nodes if node not in idle]
