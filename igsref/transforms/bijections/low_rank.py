"""Low rank plus identity, η = (I + U Vᵀ) θ, undone by Woodbury's formula."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.linalg.rounding import UNIT
from igsref.transforms.bijections.protocol import check_vector, constant


@dataclass(frozen=True, eq=False)
class LowRankPlusIdentity:
    """η = T θ with T = I + U Vᵀ, T⁻¹ = I − U C⁻¹ Vᵀ and det T = det C, C = I + Vᵀ U.

    left, right: U and V, (m, k). Raises ValueError where their shapes differ, or where C is
    singular to rounding: σ_min(C) ≤ m eps (1 + ‖U‖‖V‖), by which computing C moves it (Weyl).

    >>> T = LowRankPlusIdentity(torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0], [2.0]]))
    >>> T.inverse(torch.tensor([6.0, 1.0]))
    tensor([2., 1.])
    """

    left: Tensor
    right: Tensor
    name: str = field(default="low rank plus identity", init=False)
    capacity: Float[Tensor, "rank rank"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        U, V = constant("left", self.left, ndim=2), constant("right", self.right, ndim=2)
        if U.shape != V.shape:
            raise ValueError(
                f"left and right must have one shape (m, k); got {tuple(U.shape)}, {tuple(V.shape)}"
            )
        C = torch.eye(U.shape[1]).to(U) + V.mT @ U
        smallest = float(torch.linalg.svdvals(C)[-1])
        moved = len(U) * 2 * UNIT * (1 + float(torch.linalg.norm(U)) * float(torch.linalg.norm(V)))
        if not smallest > moved:
            raise ValueError(
                "I + left·rightᵀ must be invertible; the smallest singular value of "
                f"I + rightᵀ·left is {smallest:.3g}, and rounding moves it by {moved:.3g}"
            )
        for name, value in (("left", U), ("right", V), ("capacity", C)):
            object.__setattr__(self, name, value)

    def forward(self, theta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """η = θ + U Vᵀ θ."""
        U, V = self.left.to(theta), self.right.to(theta)
        return theta + U @ (V.mT @ theta)

    def inverse(self, eta: Float[Tensor, " params"]) -> Float[Tensor, " params"]:
        """θ = η − U C⁻¹ Vᵀ η."""
        U, V, C = (held.to(eta) for held in (self.left, self.right, self.capacity))
        return eta - U @ torch.linalg.solve(C, V.mT @ eta)

    def jacobian(self, theta: Float[Tensor, " params"]) -> Float[Tensor, "params params"]:
        """Φ = I + U Vᵀ."""
        U, V = self.left.to(theta), self.right.to(theta)
        return torch.eye(len(U)).to(theta) + U @ V.mT

    def log_abs_det(self, theta: Float[Tensor, " params"]) -> Float[Tensor, ""]:
        """log|det C|."""
        return torch.linalg.slogdet(self.capacity).logabsdet.to(theta)

    def check(self, theta: Tensor) -> None:
        """Raise ValueError for another size than U's, or what is not finite."""
        check_vector("theta", theta, len(self.left))

    def check_image(self, eta: Tensor) -> None:
        """Raise ValueError for another size than U's, or what is not finite."""
        check_vector("eta", eta, len(self.left))
