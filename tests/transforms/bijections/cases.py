"""All bijections, each for a vector of any size, and what rounding may do to them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from igsref.transforms.bijections import (
    AffineCoupling,
    Bijection,
    Composition,
    Cubic,
    DenseLinear,
    Diagonal,
    ElementwisePower,
    Householder,
    LowRankPlusIdentity,
    Orthogonal,
    RadialPower,
    Sinh,
    Softplus,
    Triangular,
    invert,
)
from tests.closeness import EPS
from tests.strategies import gaussian


def _orthogonal(m: int) -> Tensor:
    return torch.linalg.qr(gaussian(3, m, m)).Q


def _dense(m: int) -> Tensor:
    return _orthogonal(m) * 2.0 ** (torch.arange(m) % 5 - 2.0)


def _triangle(m: int) -> Tensor:
    return gaussian(4, m, m).tril(-1) / m + torch.diag(1 + torch.arange(m) % 3.0)


def _center(m: int) -> Tensor:
    return gaussian(5, m)


def _image_center(m: int) -> Tensor:
    return gaussian(6, m)


def _radial(a: float, b: float) -> Callable[[int], Bijection]:
    """b per entry: ‖δ‖² grows with m."""
    return lambda m: RadialPower(a, b * m, _center(m), _image_center(m))


def _elementwise(a: float, b: float) -> Callable[[int], Bijection]:
    return lambda m: ElementwisePower(a, b, _center(m), _image_center(m))


POWERS = [
    (0.0, 1.0),
    (0.5, 1.0),
    (-0.5, 2.0),
    (-1.0, 60.0),
    (-0.7, 60.0),
    (-0.25, 0.5),
    (1.0, 0.3),
    (2.3, 1.0),
    (0.5, 0.0),
    (-0.3, 0.0),
]
"""(a, b): all closed forms, and what needs the root; b far from the turning point for a < −½."""

BIJECTIONS: dict[str, Callable[[int], Bijection]] = {
    **{f"radial power {a}, {b}": _radial(a, b) for a, b in POWERS},
    **{f"elementwise power {a}, {b}": _elementwise(a, b) for a, b in POWERS},
    "radial power about 0": lambda m: RadialPower(0.8, 1.0, torch.zeros(m).double()),
    "diagonal": lambda m: Diagonal(2.0 ** (torch.arange(m) % 7 - 3.0) * (-1.0) ** torch.arange(m)),
    "lower triangular": lambda m: Triangular(_triangle(m)),
    "upper triangular": lambda m: Triangular(_triangle(m).mT),
    "orthogonal": lambda m: Orthogonal(_orthogonal(m)),
    "Householder": lambda m: Householder(gaussian(7, 3, m)),
    "low rank": lambda m: LowRankPlusIdentity(gaussian(8, m, 2) / m, gaussian(9, m, 2)),
    "dense": lambda m: DenseLinear(_dense(m)),
    "sinh": lambda m: Sinh(),
    "cubic": lambda m: Cubic(0.4),
    "softplus": lambda m: Softplus(),
    "coupling": lambda m: AffineCoupling(m, seed=1),
    "asinh": lambda m: invert(Sinh()),
    "inverse of dense": lambda m: invert(DenseLinear(_dense(m))),
    "inverse of elementwise power": lambda m: invert(
        ElementwisePower(0.7, 1.0, _center(m), _image_center(m))
    ),
    "composition": lambda m: Composition(
        (Orthogonal(_orthogonal(m)), invert(Sinh()), AffineCoupling(m, seed=2), Cubic(1.0))
    ),
}
"""Name → how to make it for m parameters."""


def domain_point(name: str, size: int) -> Tensor:
    """θ, entries of size 1, where the named bijection is a diffeomorphism."""
    theta = gaussian(10, size)
    return theta.abs() + 0.1 if name == "softplus" else theta


@dataclass(frozen=True)
class Rounding:
    """What rounding can do at θ. It moves η by eps·count·(‖η‖ + ‖Φ‖‖θ‖ + offsets) at most.

    count: m additions in a sum, and some 32 operations of an eps or two besides (powers with
    exponents up to 5, exponentials of what is below 5, chains of four maps).
    """

    jacobian: Tensor
    eta: float
    theta: float
    slope: float
    condition: float

    @property
    def derivative(self) -> float:
        """Relative to ‖Φ⁻¹‖: D(φ⁻¹) is solved for with κ, and moves with η by its curvature."""
        return self.slope + EPS * (len(self.jacobian) + 32) * self.condition


def rounding(bijection: Bijection, theta: Tensor) -> Rounding:
    """Computed from Φ, D²φ and sizes, by derivatives of ``forward`` alone."""
    m = len(theta)
    jacobian = torch.func.jacrev(bijection.forward)(theta)
    curvature = float(torch.func.jacrev(torch.func.jacrev(bijection.forward))(theta).norm())
    back = float(torch.linalg.matrix_norm(torch.linalg.inv(jacobian), 2))
    size = float(torch.linalg.matrix_norm(jacobian, 2))
    offsets = float(_center(m).norm() + _image_center(m).norm())
    scale = float(bijection.forward(theta).norm()) + (size + 1) * (float(theta.norm()) + offsets)
    eta = EPS * (m + 32) * scale
    moved = back * eta + EPS * (m + 32) * (float(theta.norm()) + offsets)
    return Rounding(jacobian, eta, moved, curvature * back * moved, size * back)
