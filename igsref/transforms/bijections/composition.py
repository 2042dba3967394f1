"""Bijections made of others: one after another, and the other way round."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.arguments import check_sequence
from igsref.transforms.bijections.protocol import Bijection, check_bijection, check_vector


@dataclass(frozen=True, eq=False)
class Composition:
    """η = φ_k(⋯ φ_1(θ)): the first of ``parts`` acts first.

    Raises TypeError for what is no list or tuple of bijections; ValueError where it is empty.

    >>> from igsref.transforms.bijections import Cubic, Sinh
    >>> Composition((Sinh(), Cubic(1.0))).name
    'sinh, then cubic plus 1·θ'
    """

    parts: Sequence[Bijection]

    def __post_init__(self) -> None:
        check_sequence("parts", self.parts, "bijections")
        for number, part in enumerate(self.parts):
            check_bijection(f"parts[{number}]", part)
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts:
            raise ValueError("parts must hold at least one bijection; got none")

    @property
    def name(self) -> str:
        """Those of its parts, in order."""
        return ", then ".join(part.name for part in self.parts)

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = φ_k(⋯ φ_1(θ))."""
        return reduce(lambda value, part: part.forward(value), self.parts, theta)

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = φ_1⁻¹(⋯ φ_k⁻¹(η))."""
        return reduce(lambda value, part: part.inverse(value), reversed(self.parts), eta)

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = Φ_k ⋯ Φ_1, each where it acts."""
        first, *rest = self.parts
        Φ = first.jacobian(theta)
        for part, before in zip(rest, self.parts, strict=False):
            theta = before.forward(theta)
            Φ = part.jacobian(theta) @ Φ
        return Φ

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """Σ log|det Φ_j|, each where it acts."""
        total = theta.new_zeros(())
        for part in self.parts:
            total = total + part.log_abs_det(theta)
            theta = part.forward(theta)
        return total

    def check(self, theta: Tensor) -> None:
        """Raise ValueError where a part cannot take what those before it give."""
        for part in self.parts:
            part.check(theta)
            theta = part.forward(theta)
        check_vector("the image of theta", theta)

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError where a part cannot give what those after it need."""
        for part in reversed(self.parts):
            part.check_image(eta)
            eta = part.inverse(eta)
        check_vector("the origin of eta", eta)


@dataclass(frozen=True, eq=False)
class Inverse:
    """η = φ⁻¹(θ) of a bijection φ; make one with :func:`invert`."""

    original: Bijection

    def __post_init__(self) -> None:
        check_bijection("bijection", self.original)

    @property
    def name(self) -> str:
        """That of the original, as its inverse."""
        return f"inverse of {self.original.name}"

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = φ⁻¹(θ)."""
        return self.original.inverse(theta)

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = φ(η)."""
        return self.original.forward(eta)

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """The inverse of the original's, at φ⁻¹(θ)."""
        return torch.linalg.inv(self.original.jacobian(self.original.inverse(theta)))

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """That of the original with the other sign, at φ⁻¹(θ)."""
        return -self.original.log_abs_det(self.original.inverse(theta))

    def check(self, theta: Tensor) -> None:
        """Raise ValueError where θ is no image of the original."""
        self.original.check_image(theta)

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError where the original is no diffeomorphism at η."""
        self.original.check(eta)


def invert(bijection: Bijection) -> Bijection:
    """The bijection in the other direction; the inverse of an inverse is the original itself.

    Raises TypeError for what is no bijection.

    >>> from igsref.transforms.bijections import Sinh
    >>> invert(invert(Sinh()))
    Sinh(name='sinh')
    """
    return bijection.original if isinstance(bijection, Inverse) else Inverse(bijection)
