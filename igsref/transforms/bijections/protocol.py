"""The face of a bijection η = φ(θ) of parameter space, and the checks that bijections share.

Maps act on one vector of all parameters, (m,). They are written for ``torch.func``: nothing looks
at values, so outside of its domain a map may give NaN; :meth:`Bijection.check` gives the reason.
Tensors that a bijection holds take dtype and device of the vector that they act on.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.arguments import check_tensor, described


@runtime_checkable
class Bijection(Protocol):
    """A diffeomorphism of (a part of) R^m; ``inverse`` can be differentiated three times."""

    @property
    def name(self) -> str:
        """What it is called in a report."""
        ...

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = φ(θ)."""
        ...

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = φ⁻¹(η)."""
        ...

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = ∂η/∂θ at θ, dense."""
        ...

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """log|det Φ| at θ."""
        ...

    def check(self, theta: Tensor) -> None:
        """Raise ValueError, with the reason, where φ is no diffeomorphism at θ."""
        ...

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError, with the reason, where η is not the image of such a θ."""
        ...


_MEMBERS = ("name", "forward", "inverse", "jacobian", "log_abs_det", "check", "check_image")


def check_bijection(name: str, value: Any) -> None:
    """Raise TypeError, with the methods that are missing, for what is no bijection."""
    expected = f"{name} must be a Bijection, such as igsref.transforms.Sinh()"
    if isinstance(value, type):
        raise TypeError(f"{expected}; got {described(value)}: call it to make one")
    missing = [member for member in _MEMBERS if not hasattr(value, member)]
    if missing:
        raise TypeError(f"{expected}; got {described(value)}, which lacks {', '.join(missing)}")


def constant(name: str, value: Tensor, ndim: int) -> Tensor:
    """A float64 copy, detached, of a tensor that a bijection is made of.

    Raises TypeError for what is no tensor; ValueError unless it is real and finite, has that many
    axes and an entry.
    """
    check_tensor(name, value)
    if value.ndim != ndim or value.numel() == 0 or value.is_complex():
        kind = {1: "vector", 2: "matrix"}[ndim]
        raise ValueError(
            f"{name} must be a non-empty real {kind}; "
            f"got shape {tuple(value.shape)}, dtype {value.dtype}"
        )
    _check_finite(name, value)
    return value.detach().to(torch.float64).clone()


def check_square(name: str, matrix: Tensor) -> None:
    """Raise ValueError unless the matrix is square."""
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be square; got shape {tuple(matrix.shape)}")


def check_vector(name: str, vector: Tensor, size: int | None = None) -> None:
    """Raise ValueError unless it is a finite vector of real floats, of m entries where m is given.

    name: "theta" or "eta", as the message shall call it. Raises TypeError for what is no tensor.
    """
    check_tensor(name, vector)
    if vector.ndim != 1 or not vector.is_floating_point():
        raise ValueError(
            f"{name} must be a floating-point vector of all parameters; "
            f"got shape {tuple(vector.shape)}, dtype {vector.dtype}"
        )
    if size is not None and len(vector) != size:
        raise ValueError(
            f"{name} must have shape ({size},) for this bijection; got {tuple(vector.shape)}"
        )
    _check_finite(name, vector)


def refuse_where(bad: Tensor, name: str, vector: Tensor, reason: str) -> None:
    """Raise ValueError that names the first entry of the vector for which ``bad`` holds."""
    places = bad.nonzero()
    if len(places):
        k = int(places[0])
        raise ValueError(
            f"{reason}; {name}[{k}] is {float(vector[k])!r}"
            f" ({len(places)} of {len(vector)} entries)"
        )


def _check_finite(name: str, value: Tensor) -> None:
    bad = (~value.isfinite()).nonzero()
    if len(bad):
        where = bad[0].tolist()
        raise ValueError(f"{name} must be finite; {name}{where} is {float(value[*where])}")
