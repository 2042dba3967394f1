"""One layer at a time in rationals or balls: its outputs, and cotangents pulled back through it.

Inputs have the shape (samples, *features), cotangents (samples, rows, *features): each sample has
as many cotangents as its reduced factor has rows. Nothing is shared with autograd.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flint import arb
from torch import Tensor, nn

from igsref.exact.activations import PIECEWISE_LINEAR, SMOOTH
from igsref.exact.arithmetic import BALLS, Arithmetic, Array
from igsref.layers import Layer, patches

AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)
SHAPES = (nn.Flatten, nn.Identity, nn.Dropout)


@dataclass(frozen=True, eq=False)
class Outer:
    """Gradients δ ⊗ x of a weight that each sample meets once, not multiplied out.

    delta: (samples, rows, outputs); inputs: (samples, inputs).
    """

    delta: Array
    inputs: Array

    def explicit(self) -> Array:
        """(samples, rows, outputs·inputs)."""
        product = self.delta[..., None] * self.inputs[:, None, None, :]
        return product.reshape(*self.delta.shape[:2], -1)

    def gram(self, arithmetic: Arithmetic) -> Array:
        """(δ_i·δ_j)(x_i·x_j) for all pairs of rows."""
        samples, rows, outputs = self.delta.shape
        delta = self.delta.reshape(samples * rows, outputs)
        once = arithmetic.matmul(self.inputs, self.inputs.T)
        inner = once.repeat(rows, axis=0).repeat(rows, axis=1)
        return arithmetic.matmul(delta, delta.T) * inner


Gradient = Outer | Array
"""Of one parameter tensor for every sample and row; an array is (samples, rows, entries)."""
Pull = Callable[[Array], tuple[Array, dict[str, Gradient]]]
"""Cotangents of the outputs ↦ those of the inputs, and gradients by parameter name."""


@dataclass(frozen=True, eq=False)
class Step:
    """A layer at its inputs: its outputs, and the way back."""

    value: Array
    pull: Pull


def step(layer: Layer, arithmetic: Arithmetic, theta: Mapping[str, Tensor], x: Array) -> Step:
    """Apply one layer to x, (samples, *features).

    theta: all the network's tensors by name, float64.
    Raises Undecided where a ball does not know its sign at a kink.
    """
    module = layer.module
    if type(module) in AFFINE:
        return _affine(layer, arithmetic, theta, x)
    if type(module) in NORMALISATIONS:
        return _normalisation(layer, theta, x)
    if type(module) in (nn.AvgPool2d, nn.MaxPool2d):
        return _pool(module, arithmetic, x)
    if type(module) in SHAPES:
        shape = (len(x), -1) if type(module) is nn.Flatten else x.shape
        back = x.shape[1:]
        return Step(x.reshape(shape), lambda delta: (delta.reshape(*delta.shape[:2], *back), {}))
    return _activation(module, arithmetic, x)


def objection(module: Any) -> str | None:
    """Why a layer is not supported; None where it is."""
    kind = type(module)
    if kind in (nn.Conv1d, nn.Conv2d) and module.padding_mode != "zeros":
        return f"pads with padding_mode={module.padding_mode!r}, not with zeros"
    if kind in (nn.Conv1d, nn.Conv2d) and isinstance(module.padding, str):
        return f"has padding={module.padding!r}, not a number"
    if kind is nn.Flatten and (module.start_dim, module.end_dim) != (1, -1):
        return f"flattens from {module.start_dim} to {module.end_dim}, not from 1 to −1"
    if kind is nn.GELU and module.approximate != "none":
        return f"is GELU with approximate={module.approximate!r}, not 'none'"
    if kind in NORMALISATIONS and module.running_var is None:
        return "has no running statistics"
    if kind in (nn.AvgPool2d, nn.MaxPool2d) and not _is_plain(module):
        return "pools with padding, dilation, ceil_mode or another divisor"
    known = (*AFFINE, *NORMALISATIONS, *SHAPES, *PIECEWISE_LINEAR, *SMOOTH)
    if kind in (*known, nn.AvgPool2d, nn.MaxPool2d):
        return None
    return "has no exact arithmetic"


def is_rational(module: Any) -> bool:
    """Whether the layer takes rationals to rationals, exactly."""
    return type(module) not in (*SMOOTH, *NORMALISATIONS)


# Linear layers and convolutions: an index says what each output position reads.


def _affine(layer: Layer, arithmetic: Arithmetic, theta: Mapping[str, Tensor], x: Array) -> Step:
    module = layer.module
    weight = arithmetic.array(theta[str(layer.weight)])
    reads, spatial = _reads(module, x.shape[1:])
    groups = np.split(weight.reshape(len(weight), -1), len(reads))
    padded = np.concatenate([arithmetic.zeros(len(x), 1), x.reshape(len(x), -1)], axis=1)
    read = [padded[:, index] for index in reads]  # (samples, positions, inputs) each
    outputs = [
        arithmetic.matmul(r.reshape(-1, r.shape[2]), w.T).reshape(*r.shape[:2], -1)
        for r, w in zip(read, groups, strict=True)
    ]
    value = np.concatenate(outputs, axis=2)
    if layer.bias is not None:
        value = value + arithmetic.array(theta[layer.bias])

    def pull(delta: Array) -> tuple[Array, dict[str, Gradient]]:
        by_position = _by_position(module, delta)
        parts = np.split(by_position, len(reads), axis=3)
        gradients: dict[str, Gradient] = {str(layer.weight): _weight(arithmetic, parts, read)}
        if layer.bias is not None:
            gradients[layer.bias] = by_position.sum(axis=2)
        below = arithmetic.zeros(*delta.shape[:2], padded.shape[1])
        for part, index, w in zip(parts, reads, groups, strict=True):
            pulled = arithmetic.matmul(part.reshape(-1, part.shape[3]), w)
            pulled = pulled.reshape(*part.shape[:3], -1)
            for position, where in enumerate(index):
                below[:, :, where] += pulled[:, :, position]
        return below[:, :, 1:].reshape(*delta.shape[:2], *x.shape[1:]), gradients

    return Step(_in_shape(module, value, x.shape[1:], spatial), pull)


def _reads(module: Any, shape: tuple[int, ...]) -> tuple[list[Array], tuple[int, ...]]:
    """For each group (positions, inputs) of indices into the flat input, 0 the padding; positions.

    Input entry k has the index k + 1.
    """
    size = math.prod(shape)
    index = torch.arange(1, size + 1, dtype=torch.float64).reshape(1, *shape)
    read = patches(module, index)[0].mT.numpy().astype(int)
    if type(module) is nn.Linear:
        return [read], shape[:-1]
    kind = torch.nn.functional.conv1d if type(module) is nn.Conv1d else torch.nn.functional.conv2d
    # Not the module's own weights: they may be on another device.
    kernel = module.out_channels, module.in_channels // module.groups, *module.kernel_size
    zero = torch.zeros(kernel, dtype=torch.float64)
    settings = module.stride, module.padding, module.dilation, module.groups
    return np.split(read, module.groups, axis=1), kind(index, zero, None, *settings).shape[2:]


def _in_shape(module: Any, value: Array, shape: tuple[int, ...], spatial: tuple[int, ...]) -> Array:
    """(samples, positions, outputs) as the layer's output."""
    if type(module) is nn.Linear:
        return value.reshape(len(value), *shape[:-1], value.shape[2])
    return value.transpose(0, 2, 1).reshape(len(value), value.shape[2], *spatial)


def _by_position(module: Any, delta: Array) -> Array:
    """Cotangents of an output as (samples, rows, positions, outputs)."""
    samples, rows = delta.shape[:2]
    if type(module) is nn.Linear:
        return delta.reshape(samples, rows, -1, delta.shape[-1])
    return delta.reshape(samples, rows, delta.shape[2], -1).transpose(0, 1, 3, 2)


def _weight(arithmetic: Arithmetic, delta: list[Array], read: list[Array]) -> Gradient:
    """Σ over positions of δ ⊗ x, group by group."""
    if len(read) == 1 and read[0].shape[1] == 1:
        return Outer(delta[0][:, :, 0], read[0][:, 0])
    parts = []
    for part, inputs in zip(delta, read, strict=True):
        samples, rows, positions, outputs = part.shape
        stacked = part.transpose(0, 1, 3, 2).reshape(samples, rows * outputs, positions)
        products = [arithmetic.matmul(d, x) for d, x in zip(stacked, inputs, strict=True)]
        parts.append(np.stack(products).reshape(samples, rows, -1))
    return np.concatenate(parts, axis=2)


# Everything that acts on one number, one channel or one window.


def _activation(module: Any, arithmetic: Arithmetic, x: Array) -> Step:
    function = {**PIECEWISE_LINEAR, **SMOOTH}[type(module)]
    value, slope = np.empty_like(x), np.empty_like(x)
    for index, z in np.ndenumerate(x):
        value[index], slope[index] = function(module, arithmetic, z)
    return Step(value, lambda delta: (delta * slope[:, None], {}))


def _normalisation(layer: Layer, theta: Mapping[str, Tensor], x: Array) -> Step:
    """(x − μ)/√(σ² + ε)·γ + β of each channel, with running statistics; in balls."""
    module: Any = layer.module
    along = (-1, *(1 for _ in x.shape[2:]))
    mean = BALLS.array(theta[str(layer.mean)])
    variance = BALLS.array(theta[str(layer.variance)]) + arb(module.eps)
    inverse = np.array([v.rsqrt() for v in variance])
    normal = (x - mean.reshape(along)) * inverse.reshape(along)
    gamma = None if layer.weight is None else BALLS.array(theta[layer.weight])
    beta = None if layer.bias is None else BALLS.array(theta[layer.bias])
    value = normal if gamma is None else normal * gamma.reshape(along)
    value = value if beta is None else value + beta.reshape(along)
    factor = inverse if gamma is None else inverse * gamma

    def pull(delta: Array) -> tuple[Array, dict[str, Gradient]]:
        gradients: dict[str, Gradient] = {}
        places = tuple(range(3, delta.ndim))
        if layer.weight is not None:
            gradients[layer.weight] = (delta * normal[:, None]).sum(axis=places)
        if layer.bias is not None:
            gradients[layer.bias] = delta.sum(axis=places)
        return delta * factor.reshape(along), gradients

    return Step(value, pull)


def _is_plain(module: Any) -> bool:
    settings = {name: getattr(module, name, None) for name in ("padding", "dilation")}
    return (
        settings["padding"] in (0, (0, 0))
        and settings["dilation"] in (None, 1, (1, 1))
        and not module.ceil_mode
        and getattr(module, "divisor_override", None) is None
        and not getattr(module, "return_indices", False)
    )


def _pool(module: Any, arithmetic: Arithmetic, x: Array) -> Step:
    """The mean of each window, or its first largest entry, as torch chooses."""
    lead, image = x.shape[:-2], x.shape[-2:]  # a sample may have no axis of channels
    size = math.prod(image)
    index = torch.arange(size, dtype=torch.float64).reshape(1, 1, *image)
    unfolded = torch.nn.functional.unfold(index, module.kernel_size, stride=module.stride)
    windows = unfolded[0].mT.numpy().astype(int)  # (positions, entries)
    spatial = type(module)(module.kernel_size, module.stride)(index).shape[2:]
    flat = x.reshape(*lead, size)
    share = arithmetic.zeros(*lead, *windows.shape)
    for place in np.ndindex(*lead, len(windows)):
        entries = flat[place[:-1]][windows[place[-1]]]
        if type(module) is nn.AvgPool2d:
            share[place] = arithmetic.number(1.0) / len(entries)
        else:
            share[(*place, _first_largest(arithmetic, entries))] = arithmetic.number(1.0)
    value = (flat[..., windows] * share).sum(axis=-1)

    def pull(delta: Array) -> tuple[Array, dict[str, Gradient]]:
        by_window = delta.reshape(*delta.shape[:-2], len(windows))
        spread = by_window[..., None] * share[:, None]
        below = arithmetic.zeros(*by_window.shape[:-1], size)
        for position, where in enumerate(windows):
            below[..., where] += spread[..., position, :]
        return below.reshape(*by_window.shape[:-1], *image), {}

    return Step(value.reshape(*lead, *spatial), pull)


def _first_largest(arithmetic: Arithmetic, entries: Array) -> int:
    best = 0
    for candidate in range(1, len(entries)):
        if arithmetic.is_positive(entries[candidate] - entries[best]):
            best = candidate
    return best
