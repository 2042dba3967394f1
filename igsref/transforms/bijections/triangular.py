"""Triangular linear maps, η = T θ, undone by substitution."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.transforms.bijections.protocol import (
    check_square,
    check_vector,
    constant,
    refuse_where,
)


@dataclass(frozen=True, eq=False)
class Triangular:
    """η = T θ with T lower or upper triangular, which is read off its zeros.

    matrix: T, (m, m). Raises ValueError unless it is square, finite, triangular, and holds no
    zero on its diagonal.

    >>> Triangular(torch.tensor([[2.0, 0.0], [1.0, 1.0]])).inverse(torch.tensor([2.0, 3.0]))
    tensor([1., 2.])
    """

    matrix: Tensor
    name: str = field(default="triangular", init=False)

    def __post_init__(self) -> None:
        T = constant("matrix", self.matrix, ndim=2)
        check_square("matrix", T)
        if bool(T.triu(1).any()) and bool(T.tril(-1).any()):
            raise ValueError("matrix must be triangular; other matrices go into DenseLinear")
        d = T.diagonal()
        refuse_where(
            d == 0, "diagonal", d, "matrix must be invertible, with no zero on its diagonal"
        )
        object.__setattr__(self, "matrix", T)

    @property
    def is_upper(self) -> bool:
        """Whether all entries below the diagonal are 0."""
        return not bool(self.matrix.tril(-1).any())

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = T θ."""
        return self.matrix.to(theta) @ theta

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = T⁻¹ η by substitution."""
        T = self.matrix.to(eta)
        return torch.linalg.solve_triangular(T, eta[:, None], upper=self.is_upper)[:, 0]

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = T."""
        return self.matrix.to(theta)

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """Σ log|T_kk|."""
        return self.matrix.diagonal().abs().log().sum().to(theta)

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for another size than T's, or what is not finite."""
        check_vector("theta", theta, len(self.matrix))

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for another size than T's, or what is not finite."""
        check_vector("eta", eta, len(self.matrix))
