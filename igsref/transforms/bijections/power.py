"""Power maps, η = (‖θ−θ̂‖² + b)^a (θ−θ̂) + η̂, of the whole vector and entry by entry.

The first is the map that Dinh, Pascanu, Bengio, Bengio, "Sharp Minima Can Generalize For Deep
Nets", ICML 2017, section 5, build to change any flatness; the second is what the authors of the
IGS computed. With δ = θ − θ̂ and s = ‖δ‖², or δ_k² entry by entry,

    ∂η/∂θ = c (I + 2a δδᵀ/(s + b)),    c = (s + b)^a,

whose eigenvalues are c and, along δ, c (b + (1+2a)s)/(s + b). So it is a diffeomorphism near θ
unless b < 0; b = 0 and δ = 0, a ≠ 0; b = 0 and a ≤ −½; or a < −½ and s ≥ s* = b/(−1−2a), the
turning point. The way back is δ = (s + b)^{−a}(η − η̂) with s found from ‖η − η̂‖².
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from igsref.arguments import check_number
from igsref.transforms.bijections.power_root import log_largest, squared_length, turning_point
from igsref.transforms.bijections.protocol import check_vector, constant

_SMALLEST_SOFTENING = 2.0**-960


@dataclass(frozen=True, eq=False)
class RadialPower:
    """η = (‖θ−θ̂‖² + b)^a (θ−θ̂) + η̂ with the vector's norm.

    exponent: a. softening: b ≥ 0. center: θ̂, (m,). image_center: η̂, (m,); zero unless given.
    Raises ValueError for b < 0, for b = 0 with a ≤ −½, and for centers that do not fit.

    >>> RadialPower(1.0, 0.0, center=torch.zeros(2)).forward(torch.tensor([3.0, 4.0]))
    tensor([ 75., 100.])
    """

    exponent: float
    softening: float
    center: Tensor
    image_center: Tensor | None = None

    def __post_init__(self) -> None:
        _check_power(self.exponent, self.softening)
        _set_centers(self)

    @property
    def name(self) -> str:
        """With a and b."""
        return f"radial power, a = {self.exponent:g}, b = {self.softening:g}"

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = (‖θ−θ̂‖² + b)^a (θ−θ̂) + η̂."""
        δ, b = theta - self.center.to(theta), self.softening
        return (δ.square().sum() + b) ** self.exponent * δ + _image_center(self, theta)

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = (s + b)^{−a}(η−η̂) + θ̂, with s (s + b)^{2a} = ‖η−η̂‖²."""
        ε, b = eta - _image_center(self, eta), self.softening
        s = squared_length(ε.square().sum(), self.exponent, b)
        return (s + b) ** -self.exponent * ε + self.center.to(eta)

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = c (I + 2a δδᵀ/(s + b))."""
        a, b, δ = self.exponent, self.softening, theta - self.center.to(theta)
        identity = torch.eye(len(δ)).to(theta)
        if a == 0:
            return identity
        s = δ.square().sum()
        return (s + b) ** a * (identity + (2 * a / (s + b)) * torch.outer(δ, δ))

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """m a log(s + b) + log((b + (1+2a)s)/(s + b))."""
        δ = theta - self.center.to(theta)
        s = δ.square().sum()
        scale, along = _log_eigenvalues(s, self.exponent, self.softening)
        return (len(δ) - 1) * scale + along

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for another size than θ̂'s, and where φ is no diffeomorphism."""
        check_vector("theta", theta, len(self.center))
        s = (theta - self.center.to(theta)).square().sum()
        _check_lengths("‖theta − center‖²", s, self.exponent, self.softening)
        check_vector("the image of theta", self.forward(theta))

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for another size than θ̂'s, and for η that are no image."""
        check_vector("eta", eta, len(self.center))
        ε = eta - _image_center(self, eta)
        _check_image_lengths("‖eta − image_center‖²", ε.square().sum(), self)
        self.check(self.inverse(eta))


@dataclass(frozen=True, eq=False)
class ElementwisePower:
    """η_k = ((θ_k−θ̂_k)² + b)^a (θ_k−θ̂_k) + η̂_k.

    exponent: a. softening: b ≥ 0. center: θ̂, (m,). image_center: η̂, (m,); zero unless given.
    Raises ValueError for b < 0, for b = 0 with a ≤ −½, and for centers that do not fit.

    >>> ElementwisePower(1.0, 0.0, center=torch.zeros(2)).forward(torch.tensor([3.0, 4.0]))
    tensor([27., 64.])
    """

    exponent: float
    softening: float
    center: Tensor
    image_center: Tensor | None = None

    def __post_init__(self) -> None:
        _check_power(self.exponent, self.softening)
        _set_centers(self)

    @property
    def name(self) -> str:
        """With a and b."""
        return f"elementwise power, a = {self.exponent:g}, b = {self.softening:g}"

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η_k = ((θ_k−θ̂_k)² + b)^a (θ_k−θ̂_k) + η̂_k."""
        δ, b = theta - self.center.to(theta), self.softening
        return (δ.square() + b) ** self.exponent * δ + _image_center(self, theta)

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ_k = (s_k + b)^{−a}(η_k−η̂_k) + θ̂_k, with s_k (s_k + b)^{2a} = (η_k−η̂_k)²."""
        ε, b = eta - _image_center(self, eta), self.softening
        s = squared_length(ε.square(), self.exponent, b)
        return (s + b) ** -self.exponent * ε + self.center.to(eta)

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = diag((s + b)^{a−1} (b + (1+2a) s))."""
        a, b = self.exponent, self.softening
        s = (theta - self.center.to(theta)).square()
        if a == 0:
            return torch.diag(torch.ones_like(theta))
        return torch.diag((s + b) ** a * ((b + (1 + 2 * a) * s) / (s + b)))

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """Σ (a log(s_k + b) + log((b + (1+2a)s_k)/(s_k + b)))."""
        s = (theta - self.center.to(theta)).square()
        return _log_eigenvalues(s, self.exponent, self.softening)[1].sum()

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for another size than θ̂'s, and where φ is no diffeomorphism."""
        check_vector("theta", theta, len(self.center))
        s = (theta - self.center.to(theta)).square()
        _check_lengths("(theta − center)²", s, self.exponent, self.softening)
        check_vector("the image of theta", self.forward(theta))

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for another size than θ̂'s, and for η that are no image."""
        check_vector("eta", eta, len(self.center))
        ε = eta - _image_center(self, eta)
        _check_image_lengths("(eta − image_center)²", ε.square(), self)
        self.check(self.inverse(eta))


def _check_power(a: float, b: float) -> None:
    check_number("exponent", a)
    check_number("softening", b)
    if not (math.isfinite(a) and math.isfinite(b)):
        raise ValueError(f"exponent and softening must be finite; got {a} and {b}")
    if b < 0:
        raise ValueError(f"softening must be at least 0, or ‖·‖² + b has a zero; got {b}")
    if 0 < b < _SMALLEST_SOFTENING:
        raise ValueError(
            f"softening must be 0 or at least {_SMALLEST_SOFTENING:.3g}: what is not small "
            f"beside it has a square that underflows; got {b}"
        )
    if b == 0 and a <= -0.5:
        raise ValueError(
            "exponent must exceed -1/2 where softening is 0: σ = s^(1+2a) does not rise with s; "
            f"got {a}"
        )


def _set_centers(power: RadialPower | ElementwisePower) -> None:
    center = constant("center", power.center, ndim=1)
    object.__setattr__(power, "center", center)
    if power.image_center is None:
        return
    image = constant("image_center", power.image_center, ndim=1)
    if image.shape != center.shape:
        raise ValueError(
            f"image_center must have the shape of center, {tuple(center.shape)}; "
            f"got {tuple(image.shape)}"
        )
    object.__setattr__(power, "image_center", image)


def _image_center(power: RadialPower | ElementwisePower, like: Tensor) -> Tensor:
    held = power.image_center
    return torch.zeros_like(like) if held is None else held.to(like)


def _log_eigenvalues(s: Tensor, a: float, b: float) -> tuple[Tensor, Tensor]:
    """log c, and log of the eigenvalue along δ."""
    if a == 0:
        return torch.zeros_like(s), torch.zeros_like(s)
    scale = a * (s + b).log()
    return scale, scale + ((b + (1 + 2 * a) * s) / (s + b)).log()


def _check_lengths(name: str, s: Tensor, a: float, b: float) -> None:
    """Where the map is no diffeomorphism, and where its squares leave the range of floats."""
    if b == 0 and a != 0:
        _refuse(s == 0, name, s, "must not be 0 where softening is 0 and exponent is not")
    turn = turning_point(a, b)
    _refuse(s >= turn, name, s, f"must be below the turning point b/(−1−2a) = {turn:.6g}")
    σ = s * (s + b) ** (2 * a)
    lost = (s > torch.finfo(s.dtype).eps * b) & ((σ < torch.finfo(s.dtype).tiny) | ~σ.isfinite())
    _refuse(lost, name, s, "must have an image whose square neither underflows nor overflows")


def _check_image_lengths(name: str, sigma: Tensor, power: RadialPower | ElementwisePower) -> None:
    a, b = power.exponent, power.softening
    if b == 0 and a != 0:
        _refuse(sigma == 0, name, sigma, "must not be 0 where softening is 0 and exponent is not")
    top = log_largest(a, b)
    outside = sigma.log() >= top
    _refuse(outside, name, sigma, f"must be below exp({top:.6g}), which no image of φ reaches")


def _refuse(bad: Bool[Tensor, "*shape"], name: str, value: Tensor, reason: str) -> None:
    """Raise ValueError for the first entry, or for the number, for which ``bad`` holds."""
    places = bad.reshape(-1).nonzero()
    if len(places):
        k = int(places[0])
        where = f"entry {k} of {name}" if bad.ndim else name
        raise ValueError(f"{where} {reason}; it is {float(value.reshape(-1)[k])!r}")
