"""Orthogonal maps, η = Q θ: given as a matrix, or as a product of reflections."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.linalg.rounding import UNIT
from igsref.transforms.bijections.protocol import (
    check_square,
    check_vector,
    constant,
    refuse_where,
)


@dataclass(frozen=True, eq=False)
class Orthogonal:
    """η = Q θ, undone by Qᵀ.

    matrix: Q, (m, m). Raises ValueError unless ‖QᵀQ − I‖_F ≤ 2 m^{5/2} eps: the Q of a Householder
    QR is within √m γ_{m²} of an orthogonal matrix (Higham, Accuracy and Stability of Numerical
    Algorithms, section 19.3), and what is within δ of one has ‖QᵀQ − I‖_F ≤ 2δ.

    >>> Orthogonal(torch.tensor([[0.0, 1.0], [-1.0, 0.0]])).forward(torch.tensor([3.0, 4.0]))
    tensor([ 4., -3.])
    """

    matrix: Tensor
    name: str = field(default="orthogonal", init=False)

    def __post_init__(self) -> None:
        Q = constant("matrix", self.matrix, ndim=2)
        check_square("matrix", Q)
        m = len(Q)
        defect = float(torch.linalg.matrix_norm(Q.mT @ Q - torch.eye(m).to(Q)))
        allowed = 2 * m**2.5 * 2 * UNIT
        if not defect <= allowed:
            raise ValueError(
                f"matrix must be orthogonal in float64; ‖QᵀQ − I‖ is {defect:.3g}, where rounding "
                f"leaves {allowed:.3g}. Take torch.linalg.qr of it, or DenseLinear"
            )
        object.__setattr__(self, "matrix", Q)

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = Q θ."""
        return self.matrix.to(theta) @ theta

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = Qᵀ η."""
        return self.matrix.to(eta).mT @ eta

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = Q."""
        return self.matrix.to(theta)

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """0, since det Q = ±1."""
        return theta.new_zeros(())

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for another size than Q's, or what is not finite."""
        check_vector("theta", theta, len(self.matrix))

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for another size than Q's, or what is not finite."""
        check_vector("eta", eta, len(self.matrix))


@dataclass(frozen=True, eq=False)
class Householder:
    """η = H_k ⋯ H_1 θ with reflections H_j = I − 2 w_j w_jᵀ/‖w_j‖²; orthogonal to rounding.

    vectors: w_j as rows, (k, m). Raises ValueError where one is zero or not finite.

    >>> Householder(torch.tensor([[1.0, 0.0]])).forward(torch.tensor([3.0, 4.0]))
    tensor([-3.,  4.])
    """

    vectors: Tensor
    name: str = field(default="Householder product", init=False)

    def __post_init__(self) -> None:
        w = constant("vectors", self.vectors, ndim=2)
        peak = w.abs().amax(dim=1)
        refuse_where(peak == 0, "largest", peak, "vectors must hold no zero row to reflect along")
        w = w / peak[:, None]
        object.__setattr__(self, "vectors", w / torch.linalg.vector_norm(w, dim=1, keepdim=True))

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = H_k ⋯ H_1 θ."""
        return _reflected(theta, self.vectors.to(theta))

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = H_1 ⋯ H_k η."""
        return _reflected(eta, self.vectors.to(eta).flip(0))

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = H_k ⋯ H_1."""
        identity = torch.eye(len(theta)).to(theta)
        return torch.stack([self.forward(column) for column in identity], dim=1)

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """0, since det H_j = −1."""
        return theta.new_zeros(())

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for another size than the vectors', or what is not finite."""
        check_vector("theta", theta, self.vectors.shape[1])

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for another size than the vectors', or what is not finite."""
        check_vector("eta", eta, self.vectors.shape[1])


def _reflected(x: Tensor, units: Tensor) -> Tensor:
    """x reflected along each unit vector in turn."""
    for w in units:
        x = x - 2 * (w @ x) * w
    return x
