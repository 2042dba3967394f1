"""Block Krylov spaces by Golub and Kahan's process, and what they hold of right-hand sides.

For an operator C (n × m), C = A T with any right preconditioner T, and a positive semi-definite W,
the space K_k = span{Z, (CᵀWC)Z, …, (CᵀWC)^{k−1}Z}, Z = CᵀWB, is where the first k steps of (block)
LSQR look for solutions of C y ≈ B. Here it is kept: an orthonormal basis V of it, two times
reorthogonalised, and the images U = C V. So the coefficients can be chosen afterwards, for one
norm or another, and all right-hand sides share all directions. U lies in range(C) = range(A T),
whatever T, W and the rounding of V were: span(U) holds a part of every vector that the range holds,
‖P_U b‖ ≤ ‖P b‖.

No recurrence is trusted: U is multiplied out, and what is concluded from V and U should be held to
the residual of the solution itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

Normal = Callable[[Tensor], tuple[Tensor, Tensor]]
"""V (m, k) ↦ (C V, CᵀWC V), (n, k) and (m, k)."""


@dataclass(frozen=True, eq=False)
class KrylovSpace:
    """A Krylov space so far.

    basis: V, orthonormal, (m, k); images: C V, (n, k); frontier: the next directions, orthonormal
    and orthogonal to V, (m, q); q = 0 when nothing is left to find. A direction made of rounding
    may come first: its image is rounding too, and is cut off in ``coefficients``.
    """

    basis: Float64[Tensor, "params k"]
    images: Float64[Tensor, "rows k"]
    frontier: Float64[Tensor, "params q"]

    @property
    def dimension(self) -> int:
        """k."""
        return self.basis.shape[1]

    def coefficients(
        self, right_hand_sides: Float64[Tensor, "rows p"], cut: float
    ) -> Float64[Tensor, "k p"]:
        """y of smallest ‖B − U y‖ within directions of U above ``cut`` times the largest.

        V being orthonormal, the image of any unit vector is known to some rounding of ‖C‖: what is
        not larger than that is no direction of the range.
        """
        left, sigma, right = torch.linalg.svd(self.images, full_matrices=False)
        kept = sigma > cut * sigma[:1]  # none of none
        return right[kept].mT @ ((left[:, kept].mT @ right_hand_sides) / sigma[kept, None])


def krylov_space(seeds: Float64[Tensor, "params p"], rows: int, tolerance: float) -> KrylovSpace:
    """The space before its first step: V and U are empty, the frontier spans the seeds.

    tolerance: directions shorter than that beside the longest are rounding.
    """
    lengths = seeds.norm(dim=0)
    seeds = seeds[:, lengths > 0] / lengths[lengths > 0]
    empty = seeds.new_zeros(len(seeds), 0)
    frontier = orthonormal(seeds, empty, tolerance)
    return KrylovSpace(empty, seeds.new_zeros(rows, 0), frontier)


def extended(space: KrylovSpace, normal: Normal, tolerance: float) -> KrylovSpace:
    """The space after one more step: one product with C and one with CᵀW."""
    images, following = normal(space.frontier)
    basis = torch.cat([space.basis, space.frontier], dim=1)
    frontier = orthonormal(following, basis, tolerance)
    return KrylovSpace(basis, torch.cat([space.images, images], dim=1), frontier)


def orthonormal(
    vectors: Float64[Tensor, "params p"], basis: Float64[Tensor, "params k"], tolerance: float
) -> Float64[Tensor, "params q"]:
    """An orthonormal basis of what the vectors add to the span of an orthonormal one.

    What is left of a vector after its part in the span is taken off, to less than ``tolerance`` of
    its length, is rounding and left out.
    """
    lengths = vectors.norm(dim=0)
    longest = float(lengths.max()) if vectors.shape[1] else 0.0
    if longest == 0:
        return vectors[:, :0]
    for _ in range(2):
        vectors = vectors - basis @ (basis.mT @ vectors)
    directions, triangle = torch.linalg.qr(vectors)
    left, sizes, _ = torch.linalg.svd(triangle)
    directions = directions @ left[:, sizes > tolerance * longest]
    # The rest of a vector that lay almost in the span is known badly: once more.
    directions = directions - basis @ (basis.mT @ directions)
    # Row by row, as a file holds it: products round in another way column by column.
    return torch.linalg.qr(directions).Q.contiguous()
