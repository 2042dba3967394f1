"""Proven bounds on the rounding of logits and Jacobian rows: a running error analysis.

Each quantity of a forward and a backward pass is carried as one evaluation of it and a bound on
|computed − exact| that holds for *every* evaluation, so also for the one that vmap and vjp make.
Almost all of them are sums of products, s = Σ_k x_k y_k: a layer applied, its cotangent pulled
back, its weights' gradient, a cotangent times an activation's derivative. With |x̂ − x| ≤ e_x,
|x̂| ≤ X, and n nonzero products, in any order, fused or not (Higham, Accuracy and Stability of
Numerical Algorithms, 2002, section 3.1):

    |ŝ − s| ≤ Σ_k (e_x Y + X e_y)_k + γ_n Σ_k X_k Y_k + n·2⁻¹⁰⁷⁴,    γ_n = nu/(1 − nu), u = 2⁻⁵³

The last term is underflow. Terms of second order are kept, and bounds are rounded up where they
are made. Exact are the parameters and inputs in float64, and cotangents. The derivative of a ReLU
at 0 is torch's: that of the left branch. Where a pre-activation is 0 within its error, the
derivative may be either one; only one that is 0 because all its summands are is known to be 0.

Assumed: IEEE 754 double precision, rounded to nearest, with gradual underflow (no
``torch.set_flush_denormal``) and no overflow; linear layers and convolutions as sums of products
(no Strassen, Winograd or FFT: so are torch's float64 kernels on a CPU); tanh good to 4 units in
the last place, and its derivative from the value, as 1 − y².
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.nn import grad

from igsref.jacobian.rows import chunk_size
from igsref.layers import Layer, patches
from igsref.linalg.rounding import UNIT
from igsref.problem import Problem

_TINY = 2.0**-1074
_TANH_ROUNDINGS = 9
"""4 units in the last place are 8u of the value; one more for the value of another evaluation."""
_ARRAYS_AT_ONCE = 6

Product = Callable[[Tensor, Tensor], Tensor]
"""A bilinear map each of whose entries is a sum of products of entries."""


def unsupported(problem: Problem) -> str | None:
    """Why the analysis does not cover this problem; None where it does.

    >>> from igsref import as_problem
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 2))
    >>> unsupported(as_problem(model, (torch.zeros(4, 2), torch.zeros(4).long())))
    'layer 1 (GELU) has no error analysis'
    """
    if problem.logits.dtype != torch.float64:
        return f"logits are in {problem.logits.dtype}, not in float64"
    if problem.function.layers is None:
        return "not a sequential network"
    inputs = problem.samples.args
    if len(inputs) != 1 or problem.samples.kwargs or inputs[0].dtype != torch.float64:
        return "the network's input is not one floating-point tensor"
    for index, layer in enumerate(problem.function.layers):
        if (reason := _objection(layer.module)) is not None:
            return f"layer {index} ({type(layer.module).__name__}) {reason}"
    return None


def logit_error(problem: Problem) -> Float64[Tensor, "samples classes"]:
    """e ≥ |computed logits − exact logits|, entry by entry.

    Raises ValueError for a problem that is unsupported.
    """
    _check(problem)
    indices = torch.arange(problem.pool_size, device=problem.logits.device)
    chunks = indices.split(chunk_size(8 * problem.num_parameters))
    return torch.cat([_finished(_forward(problem, chosen)[-1].error) for chosen in chunks])


def row_error(
    problem: Problem,
    cotangents: Float64[Tensor, "samples rows classes"],
    *,
    samples: Tensor | None = None,
) -> Float64[Tensor, "stacked params"]:
    """E ≥ |``jacobian_rows(problem, cotangents, samples=samples)`` − exact rows|, entry by entry.

    cotangents: K, shape (N, R, C), for all N samples of the problem; exact as they are.
    samples: indices of the samples wanted (all unless given).
    Raises ValueError for a problem that is unsupported.
    """
    _check(problem)
    indices = torch.arange(problem.pool_size) if samples is None else samples.cpu()
    height = cotangents.shape[1]
    size = chunk_size(_ARRAYS_AT_ONCE * 8 * height * problem.num_parameters)
    out = cotangents.new_empty((len(indices), height, problem.num_parameters))
    for start in range(0, len(indices), size):
        chosen = indices[start : start + size].to(cotangents.device)
        out[start : start + size] = _finished(_row_error(problem, chosen, cotangents[chosen]))
    return out.flatten(0, 1)


def _check(problem: Problem) -> None:
    if (reason := unsupported(problem)) is not None:
        raise ValueError(f"problem has no running error analysis: {reason}")


def _finished(error: Tensor) -> Tensor:
    """Where a bound overflowed (∞ · 0 is NaN), nothing is known."""
    return error.nan_to_num(nan=math.inf, posinf=math.inf)


# Numbers with their error, and the two operations on them.


@dataclass(frozen=True)
class _Rounded:
    """A tensor in one evaluation, and error ≥ |any evaluation − exact|, of the same shape."""

    value: Float64[Tensor, "*shape"]
    error: Float64[Tensor, "*shape"]

    @property
    def size(self) -> Tensor:
        """X ≥ |any evaluation|, |exact|: two evaluations are apart by twice the error at most."""
        return self.value.abs() + 2 * self.error


def _exact(value: Tensor) -> _Rounded:
    return _Rounded(value, torch.zeros_like(value))


def _evaluated(
    value: Tensor, inherited: Tensor, size: Tensor, roundings: Float64[Tensor, "..."]
) -> _Rounded:
    """A sum whose summands, of a total size, are known to `inherited`, after n roundings.

    The bound is rounded up. What goes into it are sums of nonnegative numbers, of no more than
    n + 1 summands each, and fewer than 12 operations follow or went before (X, Y; γ_n; these
    lines): in all it may be short by a factor (1 − u)^(n+13), which 1 + (4n + 16)u makes good.
    Underflow, in the sum itself and in the three behind its bound, takes 2⁻¹⁰⁷⁵ from each of at
    most 3n + 3 products, so less than 8n·2⁻¹⁰⁷⁴. Without a nonzero summand the error is 0.
    """
    relative = roundings * UNIT
    error = inherited + relative / (1 - relative) * size
    return _Rounded(value, error * (1 + 4 * relative + 16 * UNIT) + 8 * _TINY * roundings)


def _sum_of_products(
    product: Product, x: _Rounded, y: _Rounded, constant: Tensor | None = None
) -> _Rounded:
    """product(x, y) + constant; n, entry by entry, comes from the same map of indicators."""
    value, size = product(x.value, y.value), product(x.size, y.size)
    roundings = product((x.size != 0).double(), (y.size != 0).double())
    inherited = torch.zeros_like(size)
    if bool(x.error.any()):
        inherited += product(x.error, y.size)
    if bool(y.error.any()):
        inherited += product(x.size, y.error)
    if constant is not None:
        value, size = value + constant, size + constant.abs()
        roundings = roundings + (constant != 0)
    return _evaluated(value, inherited, size, roundings)


def _sum(x: _Rounded, dim: int) -> _Rounded:
    """Σ over one axis, in any order; of n nonzero summands, by n − 1 additions."""
    roundings = ((x.size != 0).double().sum(dim) - 1).clamp(min=0)
    return _evaluated(x.value.sum(dim), x.error.sum(dim), x.size.sum(dim), roundings)


# The two passes.


def _forward(problem: Problem, chosen: Tensor) -> list[_Rounded]:
    """The input of each layer for the chosen samples, and at the end their logits."""
    tensors = {**problem.function.constants, **problem.function.parameters}
    trace = [_exact(problem.samples.args[0][chosen])]
    for layer in problem.function.layers or ():
        trace.append(_applied(layer, tensors, trace[-1]))
    return trace


def _row_error(
    problem: Problem, chosen: Tensor, cotangents: Tensor
) -> Float64[Tensor, "samples rows params"]:
    """The error of the chosen samples' rows, each parameter's from all of its uses."""
    theta = problem.function.parameters
    uses: dict[str, list[_Rounded]] = {name: [] for name in theta}
    for name, gradient in _gradients(problem, _forward(problem, chosen), cotangents):
        uses[name].append(gradient)
    none = cotangents.new_zeros(*cotangents.shape[:2], 1)  # where no layer uses the tensor
    parts = [
        _total(uses[name]).error.flatten(2) if uses[name] else none.expand(-1, -1, value.numel())
        for name, value in theta.items()
    ]
    return torch.cat(parts, dim=2)


def _total(uses: list[_Rounded]) -> _Rounded:
    if len(uses) == 1:
        return uses[0]
    parts = torch.stack([use.value for use in uses]), torch.stack([use.error for use in uses])
    return _sum(_Rounded(*parts), dim=0)


def _gradients(
    problem: Problem, trace: list[_Rounded], cotangents: Tensor
) -> Iterator[tuple[str, _Rounded]]:
    """(name, gradient of shape (samples, rows, *its own)) of θ's part, from the last layer down."""
    theta, layers = problem.function.parameters, problem.function.layers or ()
    tensors = {**problem.function.constants, **theta}
    own = [k for k, layer in enumerate(layers) if {layer.weight, layer.bias} & set(theta)]
    lowest = min(own, default=len(layers))
    delta = _exact(cotangents)
    for k in range(len(layers) - 1, lowest - 1, -1):
        layer, x = layers[k], trace[k]
        if layer.bias in theta:
            yield layer.bias, _sum(_map(partial(_by_position, layer.module), delta), dim=-1)
        if layer.weight in theta:
            yield layer.weight, _weight_gradient(layer.module, tensors[layer.weight], delta, x)
        if k > lowest:
            delta = _pulled(layer, tensors, delta, x)


def _map(rearrange: Callable[[Tensor], Tensor], x: _Rounded) -> _Rounded:
    return _Rounded(rearrange(x.value), rearrange(x.error))


# What a layer does: affine, an activation, or another shape.


def _applied(layer: Layer, tensors: Mapping[str, Tensor], x: _Rounded) -> _Rounded:
    """The layer's output, shape (samples, *output shape)."""
    module = layer.module
    if type(module) in _DERIVATIVES:
        return _tanh(x) if type(module) is nn.Tanh else _piecewise_linear(module, x)
    if type(module) in (nn.Identity, nn.Dropout):  # a problem has none that drops anything
        return x
    if layer.weight is None:
        return _map(module, x)
    bias = None if layer.bias is None else _along_channels(module, tensors[layer.bias])
    weight = _exact(tensors[layer.weight])
    return _sum_of_products(partial(_apply, module), x, weight, bias)


def _pulled(layer: Layer, tensors: Mapping[str, Tensor], delta: _Rounded, x: _Rounded) -> _Rounded:
    """The cotangents (samples, rows, *output shape) pulled back to the layer's input."""
    if type(layer.module) in _DERIVATIVES:
        slope = _DERIVATIVES[type(layer.module)](layer.module, x)
        return _sum_of_products(torch.mul, delta, _map(partial(torch.unsqueeze, dim=1), slope))
    shape = (*delta.value.shape[:2], *x.value.shape[1:])
    if layer.weight is None:
        return _map(partial(torch.reshape, shape=shape), delta)
    pull_back = partial(_pull_back, layer.module, shape)
    return _sum_of_products(pull_back, delta, _exact(tensors[layer.weight]))


def _objection(module: Any) -> str | None:
    """Why there is no analysis of this layer."""
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.padding_mode != "zeros":
        return f"pads with padding_mode={module.padding_mode!r}, not with zeros"
    if isinstance(module, nn.Conv1d | nn.Conv2d) and isinstance(module.padding, str):
        return f"has padding={module.padding!r}, not a number"
    if isinstance(module, nn.LeakyReLU) and not module.negative_slope >= 0:
        return f"has the negative slope {module.negative_slope}"
    if isinstance(module, nn.Flatten) and module.start_dim != 1:
        return f"flattens from start_dim={module.start_dim}, not from 1"
    known = (*_DERIVATIVES, *_CONVOLUTIONS, nn.Linear, nn.Flatten, nn.Identity, nn.Dropout)
    return None if type(module) in known else "has no error analysis"


# Affine layers: three bilinear maps.

_CONVOLUTIONS: dict[type[nn.Module], tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    nn.Conv1d: (nn.functional.conv1d, grad.conv1d_input),
    nn.Conv2d: (nn.functional.conv2d, grad.conv2d_input),
}
"""Kind → (x, W ↦ W x; δ, W ↦ Wᵀ δ)."""


def _apply(module: Any, x: Tensor, weight: Tensor) -> Tensor:
    """W x, x of shape (samples, *input shape)."""
    if type(module) is nn.Linear:
        return nn.functional.linear(x, weight)
    settings = module.stride, module.padding, module.dilation, module.groups
    return _CONVOLUTIONS[type(module)][0](x, weight, None, *settings)


def _pull_back(module: Any, shape: tuple[int, ...], delta: Tensor, weight: Tensor) -> Tensor:
    """Wᵀ δ, of the given shape (samples, rows, *input shape)."""
    if type(module) is nn.Linear:
        return delta @ weight
    merged = (shape[0] * shape[1], *shape[2:])
    settings = module.stride, module.padding, module.dilation, module.groups
    transposed = _CONVOLUTIONS[type(module)][1]
    return transposed(merged, weight, delta.flatten(0, 1), *settings).reshape(shape)


def _weight_gradient(module: Any, weight: Tensor, delta: _Rounded, x: _Rounded) -> _Rounded:
    """Σ_p δ_op x_ip over the positions p of the layer's patches, group by group."""
    groups = 1 if type(module) is nn.Linear else module.groups

    def product(delta: Tensor, x: Tensor) -> Tensor:
        outputs = _by_position(module, delta).unflatten(2, (groups, -1))
        read = patches(module, x).unflatten(1, (groups, -1))
        gradient = torch.einsum("srgop,sgip->srgoi", outputs, read)
        return gradient.reshape(*delta.shape[:2], *weight.shape)

    return _sum_of_products(product, delta, x)


def _by_position(module: Any, delta: Tensor) -> Float64[Tensor, "samples rows outputs positions"]:
    """Cotangents of a layer's output, all its positions in one axis."""
    if type(module) is nn.Linear:
        return delta.reshape(*delta.shape[:2], -1, delta.shape[-1]).transpose(2, 3)
    return delta.flatten(3)


def _along_channels(module: Any, bias: Tensor) -> Tensor:
    """The bias in a shape that broadcasts against the layer's output."""
    if type(module) is nn.Linear:
        return bias
    return bias.reshape(-1, *(1 for _ in module.kernel_size))


# Activations. Their derivatives are functions of the pre-activation z.


def _piecewise_linear(module: Any, z: _Rounded) -> _Rounded:
    """φ(z) = φ'(z) z: exact on one side, and a product on the other."""
    return _sum_of_products(torch.mul, _piecewise_slope(module, z), z)


def _piecewise_slope(module: Any, z: _Rounded) -> _Rounded:
    """1 where z > 0, else the slope of the left branch; either one where the sign may differ.

    Evaluations lie within the error of the exact z, so within twice the error of this one.
    """
    left = getattr(module, "negative_slope", 0.0)
    value = torch.where(z.value > 0, 1.0, left).to(z.value)
    # Written so that a bound which overflowed, NaN, counts as undecided.
    decided = (z.value.abs() > 2 * z.error) | (z.error == 0)
    either = math.nextafter(abs(1.0 - left), math.inf)
    return _Rounded(value, torch.where(decided, 0.0, either).to(value))


def _tanh(z: _Rounded) -> _Rounded:
    """The error of z, times the largest slope that it leaves open, plus that of tanh itself."""
    nearest = (z.value.abs() - 2 * z.error).clamp(min=0)
    # 1 − tanh² ≤ 4 exp(−2|z|); 5 is room for the rounding of exp, 1e-300 for its underflow.
    slope = (5 * torch.exp(-2 * nearest)).clamp(min=1e-300, max=1.0)
    value = z.value.tanh()
    roundings = _TANH_ROUNDINGS * (z.size != 0).double()
    return _evaluated(value, slope * z.error, value.abs(), roundings)


def _tanh_slope(module: Any, z: _Rounded) -> _Rounded:
    """1 − y², y = tanh z, with the roundings of the square and of the difference."""
    y = _tanh(z)
    square = _sum_of_products(torch.mul, y, y)
    one = torch.ones_like(y.value)
    return _evaluated(one - square.value, square.error, one, one)


_DERIVATIVES: dict[type[nn.Module], Callable[[Any, _Rounded], _Rounded]] = {
    nn.ReLU: _piecewise_slope,
    nn.LeakyReLU: _piecewise_slope,
    nn.Tanh: _tanh_slope,
}
