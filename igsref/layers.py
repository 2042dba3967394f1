"""What a sequential network is made of: its layers in order, each with the names of its parameters.

Structure is what bounds on the rank of F and the running error analysis read; derivatives never
need it.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float64
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: the module, for its kind and settings, and its parameters' names.

    weight, bias: names of its tensors in θ or among the constants; None where it has none.
    mean, variance: the same of the running statistics of a normalisation.
    """

    module: nn.Module
    weight: str | None
    bias: str | None
    mean: str | None = None
    variance: str | None = None


def sequential_layers(model: nn.Module) -> tuple[Layer, ...] | None:
    """The layers of a (nested) ``nn.Sequential`` or of a single layer; None for anything else.

    None too where something but the layers takes part: hooks, a subclass with its own forward,
    parametrisations, tensors under other names than weight and bias or that have none.
    """
    tensors = {**dict(model.named_buffers()), **dict(model.named_parameters())}
    first = {id(tensor): name for name, tensor in tensors.items()}
    layers = []
    for module in _leaves(model):
        if module is None or _has_hooks(module):
            return None
        held = {name for name, _ in module.named_parameters(recurse=False)}
        if not held <= {"weight", "bias"} or type(module).__module__.split(".")[0] != "torch":
            return None
        names = ("weight", "bias", "running_mean", "running_var")
        own = [getattr(module, name, None) for name in names]
        if any(tensor is not None and id(tensor) not in first for tensor in own):
            return None
        layers.append(Layer(module, *(None if t is None else first[id(t)] for t in own)))
    return tuple(layers)


def _leaves(module: nn.Module) -> list[nn.Module | None]:
    """Modules without children in the order in which they are called; None for other containers."""
    if type(module) is nn.Sequential and not _has_hooks(module):
        return [leaf for child in module for leaf in _leaves(child)]
    return [None] if next(module.children(), None) is not None else [module]


def _has_hooks(module: nn.Module) -> bool:
    """Whether a call runs anything but the class's own forward and backward."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module)


def patches(module: Any, x: Tensor) -> Float64[Tensor, "samples inputs positions"]:
    """What each position of a linear or convolutional layer's output reads, in the weights' order.

    Of a convolution padded by zeros; x without its padding.
    """
    if type(module) is nn.Linear:
        return x.reshape(len(x), -1, x.shape[-1]).transpose(1, 2)
    settings = [module.kernel_size, module.dilation, module.padding, module.stride]
    if type(module) is nn.Conv1d:  # an image of height 1
        height = ((1,), (1,), (0,), (1,))
        settings = [one + own for one, own in zip(height, settings, strict=True)]
        x = x.unsqueeze(2)
    return nn.functional.unfold(x, *settings)
