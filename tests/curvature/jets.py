"""Exact Jacobians over the rationals, written as naively as can be.

A *jet* is a number and its derivatives by θ: 1 + m fractions, the last axis of an array. Layers
map arrays of jets to arrays of jets.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from flint import fmpq, fmpq_mat
from torch import Tensor, nn

import igsref


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def exact(tensor: Tensor) -> np.ndarray:
    """The same numbers as fractions."""
    values = tensor.detach().double().numpy()
    return np.vectorize(lambda v: fmpq(*float(v).as_integer_ratio()), otypes=[object])(values)


def affine(module: nn.Module, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    """W h + b for jets h of shape (fan-in, 1 + m); places: id of a tensor in θ → first column."""
    weight = exact(module.weight).reshape(len(module.weight), len(jets))
    out = weight @ jets
    if id(module.weight) in places:
        start = 1 + places[id(module.weight)]
        for i, j in np.ndindex(*weight.shape):
            out[i, start + i * weight.shape[1] + j] += jets[j, 0]
    if module.bias is not None:
        out[:, 0] += exact(module.bias)
        if id(module.bias) in places:
            for i in range(len(out)):
                out[i, 1 + places[id(module.bias)] + i] += 1
    return out


def on_last_axis(module: nn.Linear, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    lead, (fan_in, size) = jets.shape[:-2], jets.shape[-2:]
    rows = [affine(module, row, places) for row in jets.reshape(math.prod(lead), fan_in, size)]
    return np.stack(rows).reshape(*lead, module.out_features, size)


def windows(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[list]:
    """For each axis, the slices that a kernel covers."""
    return [
        [slice(i, i + k) for i in range(0, n - k + 1, s)]
        for n, k, s in zip(size, kernel, stride, strict=True)
    ]


def convolve(module: Any, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    """Channels first, (c, *size, 1 + m); of a grouped convolution each group sees its share."""
    cuts = windows(jets.shape[1:-1], module.kernel_size, module.stride)
    size = jets.shape[-1]
    columns = []
    for cut in itertools.product(*cuts):
        patch = jets[:, *cut].reshape(module.groups, -1, size)
        # Every group's rows, of which only its own are kept.
        parts = [affine(module, part, places) for part in patch]
        rows = len(parts[0]) // module.groups
        columns.append(
            np.concatenate([part[g * rows : (g + 1) * rows] for g, part in enumerate(parts)])
        )
    return np.stack(columns, axis=1).reshape(-1, *map(len, cuts), size)


def pool(module: Any, jets: np.ndarray, axes: int) -> np.ndarray:
    """Largest jet, by value, or mean of each window over the last axes, for all that is before."""
    lead, size = jets.shape[: -1 - axes], jets.shape[-1]
    kernel = np.broadcast_to(module.kernel_size, axes).tolist()
    cuts = windows(jets.shape[-1 - axes : -1], kernel, kernel)
    columns = []
    for cut in itertools.product(*cuts):
        patch = jets[..., *cut, :].reshape(math.prod(lead), -1, size)
        if isinstance(module, nn.MaxPool1d | nn.MaxPool2d):
            columns.append([max(row, key=lambda jet: jet[0]) for row in patch])
        else:
            columns.append(patch.sum(axis=1) / fmpq(patch.shape[1]))
    return np.stack(columns, axis=1).reshape(*lead, *map(len, cuts), size)


def bend(module: nn.Module, jet: np.ndarray) -> np.ndarray:
    """An activation of one jet."""
    value = jet[0]
    if isinstance(module, nn.ReLU):
        return jet * (1 if value > 0 else 0)
    if isinstance(module, nn.LeakyReLU):
        return jet * (fmpq(1) if value > 0 else exact(torch.tensor(module.negative_slope))[()])
    assert isinstance(module, nn.Softsign)
    size = 1 + abs(value)
    return np.concatenate([jet[:1] / size, jet[1:] / size**2])


def normalise(module: Any, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    """BatchNorm in evaluation mode, channels first; ε = 0 and variances are squares."""
    assert module.eps == 0
    out = jets.copy()
    for c, (mean, variance) in enumerate(
        zip(exact(module.running_mean), module.running_var.tolist(), strict=True)
    ):
        deviation = math.isqrt(int(variance))
        assert deviation**2 == variance
        out[c, ..., 0] -= mean
        out[c] = out[c] / fmpq(deviation)
        if not module.affine:
            continue
        values, gain = out[c, ..., 0].copy(), exact(module.weight)[c]
        out[c] = out[c] * gain
        out[c, ..., 0] += exact(module.bias)[c]
        if id(module.weight) in places:
            out[c, ..., 1 + places[id(module.weight)] + c] += values
        if id(module.bias) in places:
            out[c, ..., 1 + places[id(module.bias)] + c] += fmpq(1)
    return out


def through(module: Any, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    """Jets of what a module returns; jets have the sample's axis in front, of length 1."""
    if isinstance(module, nn.Sequential):
        for layer in module:
            jets = through(layer, jets, places)
        return jets
    if isinstance(module, Residual):
        return jets + through(module.body, jets, places)
    return through_layer(module, jets, places)


def through_layer(module: Any, jets: np.ndarray, places: Mapping[int, int]) -> np.ndarray:
    match module:
        case nn.Linear():
            return on_last_axis(module, jets, places)
        case nn.Conv1d() | nn.Conv2d():
            return convolve(module, jets[0], places)[None]
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return normalise(module, jets[0], places)[None]
        case nn.MaxPool1d() | nn.AvgPool1d():
            return pool(module, jets, 1)
        case nn.MaxPool2d() | nn.AvgPool2d():
            return pool(module, jets, 2)
        case nn.Flatten():
            start, end = module.start_dim, module.end_dim % (jets.ndim - 1)
            return jets.reshape(*jets.shape[:start], -1, *jets.shape[end + 1 :])
        case nn.Identity() | nn.Dropout():
            return jets
    bent = [bend(module, jet) for jet in jets.reshape(-1, jets.shape[-1])]
    return np.array(bent, dtype=object).reshape(jets.shape)


def exact_rank(model: nn.Sequential, problem: igsref.Problem) -> int:
    """Rank of the class differences' (or outputs') Jacobian over the rationals."""
    names = {name: id(value) for name, value in model.named_parameters()}
    sizes = {names[key]: value.numel() for key, value in problem.function.parameters.items()}
    starts = itertools.accumulate(sizes.values(), initial=0)
    places = dict(zip(sizes, starts, strict=False))
    rows = []
    for x in problem.samples.args[0]:
        jets = np.full((1, *x.shape, 1 + sum(sizes.values())), fmpq(0), dtype=object)
        jets[0, ..., 0] = exact(x)
        jets = through(model, jets, places)
        J = jets[0, :, 1:]
        rows.append(J[1:] - J[0] if problem.likelihood.name == "categorical" else J)
    D = np.concatenate(rows)
    return fmpq_mat(*D.shape, list(D.flatten())).rank()
