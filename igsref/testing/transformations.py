"""Transformations that leave a network's function alone, each drawn at random by its strength.

Two sorts: symmetries, which rewrite the weights of one network within itself, and bijections of
parameter space, after which the network is a function of other coordinates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from igsref.flat import flatten
from igsref.measures.measurement import Invariance
from igsref.model import logit_function
from igsref.testing.networks import FAMILIES
from igsref.transforms.bijections import (
    AffineCoupling,
    Bijection,
    Composition,
    Cubic,
    DenseLinear,
    Diagonal,
    ElementwisePower,
    Orthogonal,
    RadialPower,
    Sinh,
    invert,
)
from igsref.transforms.reparametrize import reparametrize
from igsref.transforms.symmetries import (
    draw_layer_scaling,
    draw_node_scaling,
    draw_node_scaling_by_powers_of_two,
    draw_permutation,
    draw_query_key_basis,
    draw_sign_flip,
    draw_softmax_shift,
    draw_value_output_basis,
)

Rounding = Literal["none", "diagonal", "coordinates", "general"]
"""What rounding does to the function. none: nothing but the order of its sums (powers of two,
permutations, signs). diagonal: parameters move by a few u of themselves. coordinates: nothing, the
network has the same floats, but its derivatives by other coordinates lose κ(Φ). general: parameters
move by u·κ(Φ) of the size of their vector."""

_ALL = tuple(FAMILIES)
_HOMOGENEOUS = (
    "ReLU perceptron",
    "leaky ReLU perceptron",
    "convolution",
    "normalized convolution",
    "residual",
)


@dataclass(frozen=True, eq=False)
class Transformed:
    """A network in other parameters, and κ(Φ) of the map; 1 where rounding knows none."""

    model: nn.Module
    condition: float = 1.0


@dataclass(frozen=True)
class Transformation:
    """A way to write the function of a network in other parameters.

    kind: what measures promise to survive. draw(model, generator, strength): one at random;
    strength, up to ``strongest``, is in decades: factors up to 10^±strength, κ(Φ) to 10^strength.
    families: the networks that it can act on (:mod:`igsref.testing.networks`).
    """

    name: str
    kind: Invariance
    draw: Callable[[nn.Module, Generator, float], Transformed]
    rounding: Rounding
    strongest: float
    families: tuple[str, ...] = _ALL


def _symmetry(
    draw: Callable[[nn.Module, Generator, float], nn.Module],
) -> Callable[[nn.Module, Generator, float], Transformed]:
    return lambda model, generator, strength: Transformed(draw(model, generator, strength))


def _shift(model: nn.Module, generator: Generator, strength: float) -> Transformed:
    """Adding v to rows w rounds them to u(‖w‖ + ‖v‖)."""
    after = draw_softmax_shift(model, generator, strength)
    sizes = [float(flatten(logit_function(m).parameters).norm()) for m in (model, after)]
    return Transformed(after, 1.0 + sizes[1] / sizes[0])


def _attention_bases(model: nn.Module, generator: Generator, strength: float) -> Transformed:
    """Query and key, value and output; κ of each basis is up to 10^(2·strength)."""
    after = draw_query_key_basis(model, generator, strength)
    after = draw_value_output_basis(after, generator, strength)
    return Transformed(after, 10.0 ** (2 * strength))


def _bijection(
    make: Callable[[Tensor, Generator, float], Bijection],
) -> Callable[[nn.Module, Generator, float], Transformed]:
    def draw(model: nn.Module, generator: Generator, strength: float) -> Transformed:
        theta = flatten(logit_function(model).parameters)
        bijection = make(theta, generator, strength)
        condition = float(torch.linalg.cond(bijection.jacobian(theta)))
        return Transformed(reparametrize(model, bijection), max(1.0, condition))

    return draw


def _exponents(generator: Generator, size: int, strength: float) -> Tensor:
    """Uniform in ±strength."""
    return strength * (2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1)


def _normal(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _uniform(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _diagonal(theta: Tensor, generator: Generator, strength: float) -> Diagonal:
    return Diagonal(10.0 ** _exponents(generator, len(theta), strength))


def _orthogonal(theta: Tensor, generator: Generator, strength: float) -> Orthogonal:
    return Orthogonal(torch.linalg.qr(_normal(generator, len(theta), len(theta))).Q)


def _dense(theta: Tensor, generator: Generator, strength: float) -> DenseLinear:
    """U 10^e Vᵀ, κ up to 10^strength."""
    left, right = (torch.linalg.qr(_normal(generator, len(theta), len(theta))).Q for _ in "UV")
    return DenseLinear(left * 10.0 ** _exponents(generator, len(theta), strength / 2) @ right)


def _elementwise(theta: Tensor, generator: Generator, strength: float) -> Bijection:
    """sinh, asinh, or θ³ + cθ after a scaling."""
    scale = Diagonal(torch.full_like(theta, 10.0 ** _uniform(generator, -strength / 2, 0.3)))
    curve = (Sinh(), invert(Sinh()), Cubic(_uniform(generator, 0.1, 2.0)))
    return Composition((scale, curve[int(torch.randint(3, (), generator=generator))]))


def _power(
    make: Callable[[float, float, Tensor], Bijection], typical: Callable[[Tensor], Tensor]
) -> Callable[[Tensor, Generator, float], Bijection]:
    """a in ±1/2 or anywhere in (−1/2, 2); η̂ = θ̂, at or off θ.

    b from 10^−strength to 10 times the squared distance of θ from θ̂, ``typical`` of its entries'.
    """

    def draw(theta: Tensor, generator: Generator, strength: float) -> Bijection:
        exponents = (-0.5, 0.5, _uniform(generator, -0.45, 2.0))
        exponent = exponents[int(torch.randint(3, (), generator=generator))]
        away = bool(torch.rand((), generator=generator, dtype=torch.float32) < 0.8)
        offset = away * _uniform(generator, 0.1, 1.0) * _normal(generator, len(theta))
        squared = float(typical(offset.square())) if away else 1.0
        softening = squared * 10.0 ** _uniform(generator, -strength, 1.0)
        return make(exponent, softening, theta - offset)

    return draw


def _coupling(theta: Tensor, generator: Generator, strength: float) -> AffineCoupling:
    seed = int(torch.randint(2**31, (), generator=generator))
    return AffineCoupling(len(theta), seed, strength)


TRANSFORMATIONS: dict[str, Transformation] = {
    transformation.name: transformation
    for transformation in (
        Transformation(
            "layer scaling",
            "layer scaling",
            _symmetry(draw_layer_scaling),
            "diagonal",
            6.0,
            _HOMOGENEOUS,
        ),
        Transformation(
            "node scaling",
            "node scaling",
            _symmetry(draw_node_scaling),
            "diagonal",
            6.0,
            _HOMOGENEOUS,
        ),
        Transformation(
            "node scaling by powers of two",
            "node scaling",
            _symmetry(draw_node_scaling_by_powers_of_two),
            "none",
            6.0,
            _HOMOGENEOUS,
        ),
        Transformation("permutation", "permutation", _symmetry(draw_permutation), "none", 1.0),
        Transformation(
            "sign flip", "sign flip", _symmetry(draw_sign_flip), "none", 1.0, ("tanh perceptron",)
        ),
        Transformation("softmax shift", "softmax shift", _shift, "general", 1.0),
        Transformation(
            "attention basis",
            "attention basis",
            _attention_bases,
            "general",
            2.0,
            ("attention",),
        ),
        Transformation("diagonal map", "diagonal", _bijection(_diagonal), "coordinates", 3.0),
        Transformation("orthogonal map", "orthogonal", _bijection(_orthogonal), "coordinates", 1.0),
        Transformation("dense linear map", "linear", _bijection(_dense), "coordinates", 4.0),
        Transformation(
            "smooth elementwise map", "elementwise", _bijection(_elementwise), "coordinates", 2.0
        ),
        Transformation(
            "elementwise power",
            "elementwise power",
            _bijection(
                _power(lambda a, b, center: ElementwisePower(a, b, center, center), torch.mean)
            ),
            "coordinates",
            2.0,
        ),
        Transformation(
            "radial power",
            "radial power",
            _bijection(_power(lambda a, b, center: RadialPower(a, b, center, center), torch.sum)),
            "coordinates",
            2.0,
        ),
        Transformation("affine coupling", "coupling", _bijection(_coupling), "coordinates", 1.5),
    )
}
"""Name → transformation."""
