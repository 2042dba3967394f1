"""Scaling each parameter on its own, η_k = d_k θ_k."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.transforms.bijections.protocol import check_vector, constant, refuse_where


@dataclass(frozen=True, eq=False)
class Diagonal:
    """η = d ⊙ θ.

    scale: d, (m,). Raises ValueError where an entry of d or 1/d is zero or not finite.

    >>> Diagonal(torch.tensor([2.0, -4.0])).forward(torch.tensor([3.0, 1.0]))
    tensor([ 6., -4.])
    """

    scale: Tensor
    name: str = field(default="diagonal", init=False)

    def __post_init__(self) -> None:
        d = constant("scale", self.scale, ndim=1)
        bad = (d == 0) | ~(1 / d).isfinite()
        refuse_where(bad, "scale", d, "scale must hold no zero, nor what has no finite inverse")
        object.__setattr__(self, "scale", d)

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = d ⊙ θ."""
        return self.scale.to(theta) * theta

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = η/d."""
        return eta / self.scale.to(eta)

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = diag(d)."""
        return torch.diag(self.scale.to(theta))

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """Σ log|d_k|."""
        return self.scale.abs().log().sum().to(theta)

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for another size than d's, or what is not finite."""
        check_vector("theta", theta, len(self.scale))

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for another size than d's, or what is not finite."""
        check_vector("eta", eta, len(self.scale))
