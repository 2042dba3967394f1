"""A sequential network as a list of layers with the names of their tensors, and back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from igsref.exact.steps import objection
from igsref.vectors.fields import Fields, VectorError

Described = list[dict[str, Any]]
"""One JSON object per layer: its kind, the names of its tensors (null for none), its settings."""
Tensors = dict[str, Tensor | None]


@dataclass(frozen=True)
class _Setting:
    """An attribute of a module that is no tensor; ``count`` integers, 0 for a plain number."""

    name: str
    read: Callable[[Fields, str], Any]
    count: int = 0

    def written(self, module: nn.Module) -> Any:
        """As JSON has it: torch may hold one integer for two that are the same."""
        value = getattr(module, self.name)
        if self.count:
            return list(value) if isinstance(value, tuple) else [value] * self.count
        return value


@dataclass(frozen=True)
class _Kind:
    """What a layer is written as.

    make: a module of these shapes and settings, whose numbers do not count. required, optional:
    its tensors that are trained. buffers: those that are not.
    """

    module: type[nn.Module]
    make: Callable[[Tensors, dict[str, Any]], nn.Module]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    settings: tuple[_Setting, ...] = ()

    @property
    def tensors(self) -> tuple[str, ...]:
        """The attributes that are tensors."""
        return (*self.required, *self.optional, *self.buffers)


def describe(model: nn.Sequential) -> tuple[Described, dict[str, Tensor]]:
    """The layers of a network, and its tensors by name; a shared tensor is there once.

    Raises ValueError for a layer that the format does not have.
    """
    layers: Described = []
    names: dict[int, str] = {}
    tensors: dict[str, Tensor] = {}
    for index, module in enumerate(model):
        kind = _NAMES.get(type(module))
        if kind is None or (reason := objection(module)) is not None:
            why = f"of a kind in {sorted(KINDS)}; got" if kind is None else f"plain; it {reason}:"
            raise ValueError(f"layer {index} of model must be {why} {type(module).__name__}")
        layer: dict[str, Any] = {"kind": kind}
        for attribute in KINDS[kind].tensors:
            tensor = getattr(module, attribute)
            layer[attribute] = None
            if tensor is not None:
                layer[attribute] = names.setdefault(id(tensor), f"{index}.{attribute}")
                tensors[layer[attribute]] = tensor.detach().double()
        layer |= {setting.name: setting.written(module) for setting in KINDS[kind].settings}
        layers.append(layer)
    return layers, tensors


def build(layers: list[Fields], tensors: dict[str, Tensor]) -> nn.Sequential:
    """The network that was described, in evaluation mode.

    Raises VectorError for what the format does not have.
    """
    parameters = {name: nn.Parameter(tensor) for name, tensor in tensors.items()}
    return nn.Sequential(*(_module(layer, tensors, parameters) for layer in layers)).eval()


def named(layers: list[Fields]) -> set[str]:
    """The tensors that layers of known kinds name."""
    return {
        layer.values[attribute]
        for layer in layers
        for attribute in KINDS[layer.text("kind")].tensors
        if layer.values[attribute] is not None
    }


def _module(
    layer: Fields, buffers: dict[str, Tensor], parameters: dict[str, nn.Parameter]
) -> nn.Module:
    if "kind" not in layer.values or layer.text("kind") not in KINDS:
        got = layer.values.get("kind")
        raise VectorError(f"{layer.where}: kind must be one of {sorted(KINDS)}; got {got!r}")
    kind = KINDS[layer.text("kind")]
    layer.only("kind", *kind.tensors, *(setting.name for setting in kind.settings))
    settings = {setting.name: setting.read(layer, setting.name) for setting in kind.settings}
    own: Tensors = {}
    for attribute in kind.tensors:
        source = buffers if attribute in kind.buffers else parameters
        own[attribute] = _tensor(layer, attribute, source, attribute in kind.optional)
    try:
        with torch.device("meta"):  # no random numbers are drawn
            module = kind.make(own, settings)
    except ValueError as error:
        shapes = {name: None if t is None else tuple(t.shape) for name, t in own.items()}
        raise VectorError(
            f"{layer.where}: the shapes must be those of a {layer.text('kind')} layer; "
            f"got {shapes} ({error})"
        ) from error
    for attribute, tensor in own.items():
        if tensor is not None and (want := getattr(module, attribute).shape) != tensor.shape:
            raise VectorError(
                f"{layer.where}: {attribute} must have the shape {tuple(want)}; "
                f"got {tuple(tensor.shape)}"
            )
        setattr(module, attribute, tensor)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.num_batches_tracked = torch.tensor(0)
    return module


def _tensor(
    layer: Fields, attribute: str, tensors: Any, optional: bool
) -> Tensor | nn.Parameter | None:
    name = layer.optional_text(attribute) if optional else layer.text(attribute)
    if name is None:
        return None
    if name not in tensors:
        raise VectorError(
            f"{layer.where}: {attribute} must name a tensor of the file; got {name!r}, "
            f"and there are {sorted(tensors)}"
        )
    return tensors[name]


def _linear(own: Tensors, settings: dict[str, Any]) -> nn.Module:
    outputs, inputs = _shape(own["weight"])
    return nn.Linear(inputs, outputs)


def _convolution(module: Any, dimensions: int) -> Callable[[Tensors, dict[str, Any]], nn.Module]:
    def make(own: Tensors, settings: dict[str, Any]) -> nn.Module:
        outputs, inputs, *kernel = _shape(own["weight"])
        if len(kernel) != dimensions:
            raise ValueError(f"the weight must have {dimensions + 2} axes")
        return module(inputs * settings["groups"], outputs, tuple(kernel), **settings)

    return make


def _normalisation(module: Any) -> Callable[[Tensors, dict[str, Any]], nn.Module]:
    return lambda own, settings: module(_shape(own["running_mean"])[0], **settings)


def _plain(module: Any) -> Callable[[Tensors, dict[str, Any]], nn.Module]:
    return lambda own, settings: module(**settings)


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    assert tensor is not None  # it is required
    return tuple(tensor.shape)


def _whole(name: str, count: int, least: int = 1) -> _Setting:
    return _Setting(name, lambda layer, field: layer.integers(field, count, least), count)


def _number(name: str) -> _Setting:
    return _Setting(name, Fields.number)


def _convolving(module: type[nn.Module], dimensions: int) -> _Kind:
    settings = (
        _whole("stride", dimensions),
        _whole("padding", dimensions, 0),
        _whole("dilation", dimensions),
        _Setting("groups", lambda layer, field: layer.integer(field, 1)),
    )
    make = _convolution(module, dimensions)
    return _Kind(module, make, ("weight",), ("bias",), settings=settings)


def _normalising(module: type[nn.Module]) -> _Kind:
    buffers = ("running_mean", "running_var")
    make = _normalisation(module)
    return _Kind(module, make, (), ("weight", "bias"), buffers, (_number("eps"),))


def _pooling(module: type[nn.Module]) -> _Kind:
    return _Kind(module, _plain(module), settings=(_whole("kernel_size", 2), _whole("stride", 2)))


def _pointwise(module: type[nn.Module], *settings: _Setting) -> _Kind:
    return _Kind(module, _plain(module), settings=settings)


KINDS: dict[str, _Kind] = {
    "linear": _Kind(nn.Linear, _linear, ("weight",), ("bias",)),
    "conv1d": _convolving(nn.Conv1d, 1),
    "conv2d": _convolving(nn.Conv2d, 2),
    "batch_norm1d": _normalising(nn.BatchNorm1d),
    "batch_norm2d": _normalising(nn.BatchNorm2d),
    "avg_pool2d": _pooling(nn.AvgPool2d),
    "max_pool2d": _pooling(nn.MaxPool2d),
    "flatten": _pointwise(nn.Flatten),
    "relu": _pointwise(nn.ReLU),
    "leaky_relu": _pointwise(nn.LeakyReLU, _number("negative_slope")),
    "tanh": _pointwise(nn.Tanh),
    "sigmoid": _pointwise(nn.Sigmoid),
    "silu": _pointwise(nn.SiLU),
    "gelu": _pointwise(nn.GELU),
}
"""The layers of the format by name."""
_NAMES = {kind.module: name for name, kind in KINDS.items()}
