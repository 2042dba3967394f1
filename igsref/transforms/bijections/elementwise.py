"""Smooth maps of each parameter on its own: sinh, cubic plus linear, softplus.

The other direction of each, asinh say, is ``invert(Sinh())``.
"""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.arguments import check_number
from igsref.transforms.bijections.protocol import check_vector, refuse_where


@dataclass(frozen=True)
class Sinh:
    """η_k = sinh θ_k, θ_k = asinh η_k.

    >>> Sinh().inverse(Sinh().forward(torch.tensor([0.0, 2.0])))
    tensor([0., 2.])
    """

    name: str = field(default="sinh", init=False)

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = sinh θ."""
        return torch.sinh(theta)

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = asinh η."""
        return torch.asinh(eta)

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = diag(cosh θ)."""
        return torch.diag(torch.cosh(theta))

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """Σ log cosh θ_k = Σ |θ_k| + log((1 + e^{−2|θ_k|})/2)."""
        size = theta.abs()
        return (size + torch.log1p((-2 * size).exp()) - math.log(2)).sum()

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for what is not finite, or where sinh overflows."""
        check_vector("theta", theta)
        bad = ~torch.sinh(theta).isfinite()
        refuse_where(bad, "theta", theta, f"theta must be within what sinh takes in {theta.dtype}")

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for what is not finite."""
        check_vector("eta", eta)


@dataclass(frozen=True)
class Cubic:
    """η_k = θ_k³ + c θ_k.

    slope: c > 0; ValueError otherwise, TypeError for what is no number.

    >>> Cubic(1.0).inverse(torch.tensor([10.0, -2.0]))
    tensor([ 2., -1.])
    """

    slope: float

    def __post_init__(self) -> None:
        check_number("slope", self.slope)
        if not 0 < self.slope < math.inf:
            raise ValueError(
                f"slope must be positive and finite for θ³ + slope·θ to be a diffeomorphism; "
                f"got {self.slope}"
            )

    @property
    def name(self) -> str:
        """With its slope."""
        return f"cubic plus {self.slope:g}·θ"

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = θ³ + c θ."""
        return theta * (theta * theta + self.slope)

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = 2√(c/3) sinh(⅓ asinh(½η(3/c)^{3/2})), and a Newton step for the last digits."""
        c = self.slope
        θ = 2 * math.sqrt(c / 3) * torch.sinh(torch.asinh(eta / (2 * (c / 3) ** 1.5)) / 3)
        return θ - (self.forward(θ) - eta) / (3 * θ * θ + c)

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = diag(3θ² + c)."""
        return torch.diag(3 * theta * theta + self.slope)

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """Σ log(3θ_k² + c)."""
        return (3 * theta * theta + self.slope).log().sum()

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for what is not finite, or where θ³ overflows."""
        check_vector("theta", theta)
        bad = ~self.inverse(self.forward(theta)).isfinite()
        refuse_where(bad, "theta", theta, "theta must be small enough for its cube, over √slope³")

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for what is not finite, or too large for the formula."""
        check_vector("eta", eta)
        bad = ~self.inverse(eta).isfinite()
        refuse_where(bad, "eta", eta, "eta must be small enough to be divided by √slope³")


@dataclass(frozen=True)
class Softplus:
    """Positive parameters: θ_k = softplus(η_k) = log(1 + e^{η_k}), so η_k = log(e^{θ_k} − 1).

    Softplus is the way back, from η to θ; θ must be positive, η may be anything.

    >>> Softplus().inverse(torch.tensor([0.0]))
    tensor([0.6931])
    """

    name: str = field(default="softplus", init=False)

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = log(e^θ − 1) = θ + log(1 − e^{−θ})."""
        return theta + torch.log(-torch.expm1(-theta))

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = log(1 + e^η); not ``softplus``, which torch cuts off at 20."""
        return torch.logaddexp(eta, torch.zeros_like(eta))

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = diag(1/(1 − e^{−θ}))."""
        return torch.diag(-1 / torch.expm1(-theta))

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """−Σ log(1 − e^{−θ_k})."""
        return -torch.log(-torch.expm1(-theta)).sum()

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for what is not finite, and unless all entries are positive."""
        check_vector("theta", theta)
        reason = (
            "theta must be positive to be a softplus (for theta of any sign, with positive eta, "
            "take invert(Softplus()))"
        )
        refuse_where(theta <= 0, "theta", theta, reason)

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for what is not finite, or where softplus underflows."""
        check_vector("eta", eta)
        bad = self.inverse(eta) < torch.finfo(eta.dtype).tiny
        refuse_where(bad, "eta", eta, "eta must be large enough for exp(eta) not to underflow")
