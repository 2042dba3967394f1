"""Any invertible linear map, η = T θ, undone by its LU decomposition."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from igsref.linalg.rounding import UNIT
from igsref.transforms.bijections.protocol import check_square, check_vector, constant


@dataclass(frozen=True, eq=False)
class DenseLinear:
    """η = T θ.

    matrix: T, (m, m). Raises ValueError unless it is square, finite, and invertible in float64:
    σ_min > m eps σ_max, since a singular matrix lies that near to any other once it is rounded.

    >>> DenseLinear(torch.tensor([[2.0, 1.0], [1.0, 1.0]])).inverse(torch.tensor([3.0, 2.0]))
    tensor([1., 1.])
    """

    matrix: Tensor
    name: str = field(default="dense linear", init=False)
    factors: Float[Tensor, "params params"] = field(init=False, repr=False)
    pivots: Int[Tensor, " params"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        T = constant("matrix", self.matrix, ndim=2)
        check_square("matrix", T)
        sigma = torch.linalg.svdvals(T)
        if not bool(sigma[-1] > len(T) * 2 * UNIT * sigma[0]):
            raise ValueError(
                "matrix must be invertible in float64; its singular values reach from "
                f"{float(sigma[0]):.3g} to {float(sigma[-1]):.3g}"
            )
        object.__setattr__(self, "matrix", T)
        for name, value in zip(("factors", "pivots"), torch.linalg.lu_factor(T), strict=True):
            object.__setattr__(self, name, value)

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = T θ."""
        return self.matrix.to(theta) @ theta

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = T⁻¹ η by forward and back substitution."""
        factors, pivots = self.factors.to(eta), self.pivots.to(eta.device)
        return torch.linalg.lu_solve(factors, pivots, eta[:, None])[:, 0]

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = T."""
        return self.matrix.to(theta)

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """Σ log|U_kk| of T = P L U."""
        return self.factors.diagonal().abs().log().sum().to(theta)

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for another size than T's, or what is not finite."""
        check_vector("theta", theta, len(self.matrix))

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for another size than T's, or what is not finite."""
        check_vector("eta", eta, len(self.matrix))
