"""Affine coupling: one half of θ is scaled and shifted by smooth functions of the other.

Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", ICLR 2017, equations 4 to 8:
η₁ = θ₁, η₂ = θ₂ exp(s(θ₁)) + t(θ₁), whose Jacobian is triangular with determinant exp(Σ s).
Here h = tanh(W θ₁ + w), s = β tanh(S h) and t = R h.
"""

import math
import operator
from dataclasses import dataclass, field
from typing import SupportsIndex

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from igsref.arguments import check_number, checked_integer
from igsref.transforms.bijections.protocol import check_vector

_UNITS = 8


@dataclass(frozen=True, eq=False)
class AffineCoupling:
    """η₁ = θ₁, η₂ = θ₂ exp(s(θ₁)) + t(θ₁), with fixed random functions s and t.

    size: m ≥ 2. seed: which halves, which functions; the same for the same seed.
    strength: β ≥ 0, the bound on |s|: entries of η₂ are scaled by e^{−β} to e^β.
    Raises ValueError for other sizes and strengths; the global random state is left alone.

    >>> coupling = AffineCoupling(3, seed=0)
    >>> float(coupling.inverse(coupling.forward(torch.ones(3))).sum())
    3.0
    """

    size: SupportsIndex
    seed: int
    strength: float = 1.0
    name: str = field(default="affine coupling", init=False)
    kept: Int64[Tensor, " kept"] = field(init=False, repr=False)
    moved: Int64[Tensor, " moved"] = field(init=False, repr=False)
    weights: dict[str, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        m = checked_integer("size", self.size, least=2)
        seed = checked_integer("seed", self.seed)
        check_number("strength", self.strength)
        if not 0 <= self.strength < math.inf:
            raise ValueError(f"strength must be at least 0 and finite; got {self.strength}")
        generator = torch.Generator().manual_seed(seed)

        def normal(rows: int, columns: int) -> Tensor:
            draw = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
            return draw / columns**0.5

        order = torch.randperm(m, generator=generator)
        kept, moved = order[: m // 2].sort().values, order[m // 2 :].sort().values
        weights = {
            "W": normal(_UNITS, len(kept)),
            "w": normal(_UNITS, 1)[:, 0],
            "S": normal(len(moved), _UNITS),
            "R": normal(len(moved), _UNITS),
        }
        for name, value in (("kept", kept), ("moved", moved), ("weights", weights)):
            object.__setattr__(self, name, value)

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η₁ = θ₁, η₂ = θ₂ exp(s(θ₁)) + t(θ₁)."""
        first, second = self._halves(theta)
        s, t = self._scale_and_shift(first)
        return self._joined(first, second * s.exp() + t)

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ₁ = η₁, θ₂ = (η₂ − t(η₁)) exp(−s(η₁))."""
        first, second = self._halves(eta)
        s, t = self._scale_and_shift(first)
        return self._joined(first, (second - t) * (-s).exp())

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """∂η₂/∂θ₂ = diag(e^s), ∂η₂/∂θ₁ = diag(θ₂ e^s) ∂s/∂θ₁ + ∂t/∂θ₁, the identity above."""
        first, second = self._halves(theta)
        W, w, S, R = self._weights(theta)
        h = torch.tanh(W @ first + w)
        dh = (1 - h * h)[:, None] * W
        s = torch.tanh(S @ h)
        ds = self.strength * (1 - s * s)[:, None] * (S @ dh)
        scale = (self.strength * s).exp()
        Φ = torch.diag(torch.ones_like(theta))
        Φ[self.moved, self.moved] = scale
        Φ[self.moved[:, None], self.kept] = (second * scale)[:, None] * ds + R @ dh
        return Φ

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """Σ s(θ₁)."""
        return self._scale_and_shift(self._halves(theta)[0])[0].sum()

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for another size, or what is not finite."""
        check_vector("theta", theta, operator.index(self.size))

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for another size, or what is not finite."""
        check_vector("eta", eta, operator.index(self.size))

    def _halves(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        return vector[self.kept.to(vector.device)], vector[self.moved.to(vector.device)]

    def _joined(self, first: Tensor, second: Tensor) -> Tensor:
        places = torch.cat([self.kept, self.moved]).argsort().to(first.device)
        return torch.cat([first, second])[places]

    def _weights(self, like: Tensor) -> tuple[Tensor, ...]:
        return tuple(value.to(like) for value in self.weights.values())

    def _scale_and_shift(self, first: Tensor) -> tuple[Tensor, Tensor]:
        W, w, S, R = self._weights(first)
        h = torch.tanh(W @ first + w)
        return self.strength * torch.tanh(S @ h), R @ h
