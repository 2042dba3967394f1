"""BatchNorm in evaluation mode, absorbed into the linear layer or convolution before it.

There it is an affine map of each channel c with fixed μ and σ² (σ² includes eps), and

    γ_c ((W x + b)_c − μ_c)/σ_c + β_c = (W'x + b')_c,
    W'_c = (γ_c/σ_c) W_c,      b'_c = (γ_c/σ_c)(b_c − μ_c) + β_c,

Jacob et al., CVPR 2018, section 3.2; `torch.nn.utils.fusion`. W, b, γ, β become W', b': m falls by
2 per channel, by 1 where the layer had no bias.

**What it does.** The old network is the new one behind (W, b, γ, β) ↦ (W', b'), with Jacobian Φ, so
its factor is A'Φ. Hence range(A) ⊂ range(A') and IGS never falls. Equal they are if Φ has full row
rank. dW' = (γ/σ) dW + (W/σ) dγ and db' = (γ/σ) db + ((b − μ)/σ) dγ + dβ, and so it has iff in every
channel

    γ ≠ 0,      and b is trained, or β is, or γ is and b ≠ μ,

if W is trained and has several entries a channel: dW alone gives all of W' when γ ≠ 0, and
something is left that moves b'. β takes the role of b where the layer has none. If neither b, γ nor
β is trained, b' is not either and nothing is asked of it; the same for W' if neither W nor γ is. In
a channel with γ = 0 the outputs do not depend on W, though they do on W': there range(A), and IGS,
can grow.
"""

import copy
import operator
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from igsref.arguments import check_model
from igsref.graph import is_altered
from igsref.graph.tracing import trace

_Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
_NORMS: dict[type[nn.Module], tuple[type[nn.Module], ...]] = {
    nn.BatchNorm1d: (nn.Linear, nn.Conv1d),
    nn.BatchNorm2d: (nn.Conv2d,),
    nn.BatchNorm3d: (nn.Conv3d,),
}
"""BatchNorm → what it can follow. Types are compared exactly: a subclass may compute otherwise."""
_ELEMENTWISE = (F.relu, torch.relu, F.tanh, torch.tanh, F.gelu, operator.add, operator.iadd)
_TENSORS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def absorb_batch_norm(model: nn.Module) -> nn.Module:
    """A copy in which each BatchNorm right after a Linear or Conv layer is part of that layer.

    model: in evaluation mode, of a kind that ``torch.fx`` traces. An ``nn.Identity`` stands where
        the BatchNorm was. The new weights are trainable if W or γ was, the new biases if b, β or
        γ was. Any other BatchNorm stays. A Linear layer's inputs are (N, features) there, for
        BatchNorm1d takes axis 1 for the features: where that cannot be seen from the layers around
        it, the BatchNorm stays too.

    IGS never falls; it is the same if all γ ≠ 0 and, of each affine layer, b or β is trained
    (module docstring; also for networks with frozen parameters).

    Raises ValueError for a BatchNorm in training mode or one without statistics, for a network that
    cannot be traced, and for one without such a place, with what stands in the way of each.

    >>> layers = nn.Linear(2, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)
    >>> absorb_batch_norm(nn.Sequential(*layers).eval())[1]
    Identity()
    """
    check_model(model)
    absorbed = copy.deepcopy(model)
    norms = _batch_norms(absorbed)
    graph, _ = trace(absorbed)
    obstacles, done = [], False
    for name, norm in norms.items():
        node = _only_call(graph, name)
        obstacle = _obstacle(absorbed, graph, node, norm)
        if obstacle is not None or node is None:
            obstacles.append(f"{name!r} {obstacle}")
            continue
        before = cast(fx.Node, node.args[0])
        _absorb(cast(_Layer, absorbed.get_submodule(str(before.target))), norm)
        _replace(absorbed, name)
        done = True
    if not done:
        raise ValueError(f"model has no BatchNorm to absorb: {'; '.join(obstacles)}")
    return absorbed


def draw_absorb_batch_norm(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """:func:`absorb_batch_norm`, which leaves nothing to chance; the generator is not used."""
    del generator
    return absorb_batch_norm(model)


def _batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """All of them by name, checked for what their function in evaluation mode depends on."""
    norms = {
        name: cast(_BatchNorm, module)
        for name, module in model.named_modules()
        if type(module) in _NORMS
    }
    if not norms:
        raise ValueError("model has no BatchNorm to absorb: it has no BatchNorm1d, 2d or 3d at all")
    for name, norm in norms.items():
        if norm.training:
            raise ValueError(f"model: {name!r} is in training mode; call model.eval() first")
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError(
                f"model: {name!r} keeps no running statistics, so its output depends on the other "
                "samples of a batch"
            )
    return norms


def _only_call(graph: fx.Graph, name: str) -> fx.Node | None:
    calls = [node for node in graph.nodes if node.op == "call_module" and node.target == name]
    return calls[0] if len(calls) == 1 else None


def _obstacle(
    model: nn.Module, graph: fx.Graph, node: fx.Node | None, norm: nn.Module
) -> str | None:
    """Why this BatchNorm cannot be part of a layer before it, if it cannot."""
    if node is None:
        return "is not called exactly once"
    before = node.args[0] if node.args else None
    if not isinstance(before, fx.Node) or before.op != "call_module":
        return "does not follow a layer"
    name = str(before.target)
    layer = model.get_submodule(name)
    if type(layer) not in _NORMS[type(norm)]:
        return f"follows {name!r}, a {type(layer).__name__}"
    if len(before.users) > 1 or _only_call(graph, name) is None:
        return f"is not the only one that reads {name!r}"
    if not (_is_plain(model, norm) and _is_plain(model, layer)):
        return f"or {name!r} has hooks, parametrisations or tensors that are shared"
    if isinstance(layer, nn.Linear) and not _sees_rows(model, graph, before):
        return f"follows {name!r}, whose inputs may have more axes than (N, features)"
    return None


def _is_plain(model: nn.Module, module: nn.Module) -> bool:
    """Whether the module computes what its class says, from tensors of its own."""
    own = dict(_tensors(module))
    if is_altered(module) or not own.keys() <= _TENSORS:
        return False
    others = [
        value for other in model.modules() if other is not module for _, value in _tensors(other)
    ]
    return not any(value is other for value in own.values() for other in others)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for held in (module._parameters, module._buffers):
        yield from ((name, value) for name, value in held.items() if value is not None)


def _sees_rows(model: nn.Module, graph: fx.Graph, node: fx.Node) -> bool:
    """Whether a layer's input is known to be (N, features), as logits and flattened inputs are.

    Forwards to the output, or backwards to a Flatten, through what keeps the number of axes.
    """
    later = list(graph.nodes)[list(graph.nodes).index(node) :]
    if all(
        _keeps_axes(model, other) or (other.op == "call_function" and other.target in _ELEMENTWISE)
        for other in later
        if other.op != "output"
    ):
        return True
    before: object = node
    while isinstance(before, fx.Node) and before.args and _keeps_axes(model, before):
        before = before.args[0]
    return (
        isinstance(before, fx.Node)
        and before.op == "call_module"
        and type(flatten := model.get_submodule(str(before.target))) is nn.Flatten
        and (flatten.start_dim, flatten.end_dim) == (1, -1)
    )


def _keeps_axes(model: nn.Module, node: fx.Node) -> bool:
    kept = ("activation", "batchnorm", "dropout", "linear", "normalization")
    if node.op != "call_module":
        return False
    module = type(model.get_submodule(str(node.target)))
    return module in (nn.Linear, nn.Identity) or module.__module__ in [
        f"torch.nn.modules.{name}" for name in kept
    ]


def _absorb(layer: _Layer, norm: _BatchNorm) -> None:
    in_layer, in_norm = (
        {name for name, value in module.named_parameters() if value.requires_grad}
        for module in (layer, norm)
    )
    with torch.no_grad():
        weight, bias = fuse_conv_bn_weights(
            layer.weight,
            layer.bias,
            cast(Tensor, norm.running_mean),
            cast(Tensor, norm.running_var),
            norm.eps,
            norm.weight,
            norm.bias,
        )
    # Not the library's own answer: it freezes the bias of a layer that had none.
    layer.weight = weight.requires_grad_("weight" in in_layer | in_norm)
    layer.bias = bias.requires_grad_("bias" in in_layer or bool(in_norm))


def _replace(model: nn.Module, name: str) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
