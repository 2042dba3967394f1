"""The scalar equation of the power maps, σ = s (s + b)^{2a}, solved for s ≥ 0.

Both power maps multiply a difference δ by (s + b)^a, s = ‖δ‖², so that σ = ‖(s + b)^a δ‖². In
squares nothing has a kink at δ = 0. σ rises with s, without bound for a > −½; towards 1 for
a = −½; and for a < −½ only up to the turning point s* = b/(−1 − 2a), where it starts to fall.

**Closed forms** for a = 0, ½, −½, −1 and for b = 0. **Else** Newton's method for u = log(s/b):

    h(u) = u + 2a log(1 + e^u) − log τ,    τ = σ/b^{2a+1}.

h is convex for a > 0 and concave for a < 0. It starts at u = log τ, right of the root for a > 0 and
left of it for a < 0, from where Newton's steps are monotone and need no bracket. (h rises up to the
turning point; near it steps halve the distance, which 64 of them outlast.) u is known to
eps·|u| only, so two steps follow on s itself,

    s ← s − (s − σ (s+b)^{−2a}) (s + b)/(b + (1+2a) s),

whose residual has a relative error of a few eps. They are differentiable in σ while their start is
a constant: k Newton steps from the root itself are right in 2^k − 1 derivatives, here three.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_STEPS = 64


def squared_length(
    sigma: Float[Tensor, "*shape"], exponent: float, softening: float
) -> Float[Tensor, "*shape"]:
    """s with s (s + b)^{2a} = σ below the turning point, NaN where there is none.

    sigma: σ ≥ 0. exponent: a. softening: b ≥ 0, and b > 0 unless a > −½.

    >>> squared_length(torch.tensor([6.0]), exponent=0.5, softening=1.0)
    tensor([2.])
    """
    a, b = exponent, softening
    if a == 0:
        return sigma
    if b == 0:
        return sigma ** (1 / (1 + 2 * a))
    if a == 0.5:
        return 2 * sigma / (b + (b * b + 4 * sigma).sqrt())
    if a == -0.5:
        return torch.where(sigma < 1, b * sigma / (1 - sigma), torch.nan)
    if a == -1:
        return 4 * b * b * sigma / (1 + (1 - 4 * b * sigma).sqrt()) ** 2
    return squared_length_by_newton(sigma, a, b)


def squared_length_by_newton(
    sigma: Float[Tensor, "*shape"], exponent: float, softening: float
) -> Float[Tensor, "*shape"]:
    """The same by Newton's method, for a ≠ −½ and b > 0; right in three derivatives."""
    a, b = exponent, softening
    s = _root(sigma.detach(), a, b)
    for _ in range(2):
        s = s - (s - sigma * (s + b) ** (-2 * a)) * (s + b) / (b + (1 + 2 * a) * s)
    return s


def turning_point(exponent: float, softening: float) -> float:
    """s* where σ stops rising; infinite for a ≥ −½."""
    return softening / (-1 - 2 * exponent) if exponent < -0.5 else math.inf


def log_largest(exponent: float, softening: float) -> float:
    """log of the σ that no s exceeds; infinite for a > −½."""
    a, b = exponent, softening
    if a > -0.5:
        return math.inf
    if a == -0.5:
        return 0.0
    s = turning_point(a, b)
    return math.log(s) + 2 * a * math.log(s + b)


def _root(sigma: Tensor, a: float, b: float) -> Tensor:
    """The root to the digits that log s has; 0 for σ = 0, NaN from the turning point on."""
    log_sigma = torch.where(sigma > 0, sigma, 1.0).log()
    log_tau = log_sigma - (1 + 2 * a) * math.log(b)
    u = log_tau
    smallest_slope = torch.finfo(sigma.dtype).eps ** 0.5 if a < -0.5 else 0.0
    for _ in range(_STEPS):
        value = u + 2 * a * torch.logaddexp(u, torch.zeros_like(u)) - log_tau
        # At the turning point the slope is rounding; a step too short keeps what Newton's keep.
        slope = (1 + 2 * a * torch.sigmoid(u)).clamp_min(smallest_slope)
        u = u - value / slope
    s = (u + math.log(b)).exp()
    s = torch.where(log_sigma < log_largest(a, b), s, torch.nan)
    return torch.where(sigma > 0, s, 0.0)
