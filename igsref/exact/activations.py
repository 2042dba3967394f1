"""Activations and their derivatives in rationals or balls, with torch's conventions at kinks."""

from collections.abc import Callable
from typing import Any

from flint import arb
from torch import nn

from igsref.exact.arithmetic import Arithmetic

Pair = tuple[Any, Any]
"""φ(z) and φ'(z)."""


def _relu(module: Any, arithmetic: Arithmetic, z: Any) -> Pair:
    """The derivative at 0 is 0."""
    zero, one = arithmetic.number(0.0), arithmetic.number(1.0)
    return (z, one) if arithmetic.is_positive(z) else (zero, zero)


def _leaky_relu(module: Any, arithmetic: Arithmetic, z: Any) -> Pair:
    """The derivative at 0 is that of the left branch."""
    slope = arithmetic.number(module.negative_slope)
    return (z, arithmetic.number(1.0)) if arithmetic.is_positive(z) else (slope * z, slope)


def _tanh(module: Any, arithmetic: Arithmetic, z: arb) -> Pair:
    """1 − tanh² = sech², which does not cancel."""
    return z.tanh(), z.sech() * z.sech()


def _sigmoid(module: Any, arithmetic: Arithmetic, z: arb) -> Pair:
    up, down = 1 / (1 + (-z).exp()), 1 / (1 + z.exp())
    return up, up * down


def _silu(module: Any, arithmetic: Arithmetic, z: arb) -> Pair:
    """x σ(x), SiLU: σ + x σ(1 − σ)."""
    up, down = 1 / (1 + (-z).exp()), 1 / (1 + z.exp())
    return z * up, up + z * up * down


def _gelu(module: Any, arithmetic: Arithmetic, z: arb) -> Pair:
    """x Φ(x) and Φ(x) + x φ(x); Φ(x) = erfc(−x/√2)/2 keeps its digits in the tail."""
    cdf = (-z / arb(2).sqrt()).erfc() / 2
    density = (-z * z / 2).exp() / (2 * arb.pi()).sqrt()
    return z * cdf, cdf + z * density


Activation = Callable[[Any, Arithmetic, Any], Pair]
PIECEWISE_LINEAR: dict[type[nn.Module], Activation] = {nn.ReLU: _relu, nn.LeakyReLU: _leaky_relu}
SMOOTH: dict[type[nn.Module], Activation] = {
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
    nn.SiLU: _silu,
    nn.GELU: _gelu,
}
