"""The range of a matrix: what its projector P does to vectors, and how a basis is found.

All routes end here in one of two spaces with the same face: the whole of R^n, or the subspace
that an orthonormal basis spans. How far the second is known, :mod:`igsref.linalg.assess` tells.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from igsref.linalg.orthogonal import graded_qr, pivoted_qr


@runtime_checkable
class Space(Protocol):
    """A subspace of R^n with its orthogonal projector P."""

    @property
    def dimension(self) -> int:
        """tr P."""
        ...

    def energy(self, vectors: Float64[Tensor, "n k"]) -> Float64[Tensor, " k"]:
        """‖P V_j‖² of each column."""
        ...

    def block_energy(
        self, blocks: Float64[Tensor, "samples rows"], places: Int64[Tensor, " samples"]
    ) -> Float64[Tensor, " samples"]:
        """‖P v_i‖², v_i the vector that holds block i in place i and 0 elsewhere."""
        ...


@dataclass(frozen=True)
class WholeSpace:
    """R^n itself: P = I."""

    dimension: int

    def energy(self, vectors: Float64[Tensor, "n k"]) -> Float64[Tensor, " k"]:
        """‖V_j‖²."""
        return vectors.square().sum(dim=0)

    def block_energy(
        self, blocks: Float64[Tensor, "samples rows"], places: Int64[Tensor, " samples"]
    ) -> Float64[Tensor, " samples"]:
        """‖v_i‖²."""
        return blocks.square().sum(dim=1)


@dataclass(frozen=True, eq=False)
class Subspace:
    """range(M K), M = blockdiag(blocks) invertible: a basis Q, and the way from K's columns to it.

    chosen: K_Π, r pivot columns of K, (n, r). inner, outer: U and R of K_Π = U R, (n, r), (r, r).
    blocks: M, (N, R, R). basis, triangle, pivots: Q, T and Π' of M U Π' = Q T.
    """

    chosen: Float64[Tensor, "n r"]
    inner: Float64[Tensor, "n r"]
    outer: Float64[Tensor, "r r"]
    blocks: Float64[Tensor, "samples rows rows"]
    basis: Float64[Tensor, "n r"]
    triangle: Float64[Tensor, "r r"]
    pivots: Int64[Tensor, " r"]

    @property
    def dimension(self) -> int:
        """r."""
        return self.basis.shape[1]

    def energy(self, vectors: Float64[Tensor, "n k"]) -> Float64[Tensor, " k"]:
        """‖QᵀV_j‖²."""
        return (self.basis.mT @ vectors).square().sum(dim=0)

    def block_energy(
        self, blocks: Float64[Tensor, "samples rows"], places: Int64[Tensor, " samples"]
    ) -> Float64[Tensor, " samples"]:
        """‖Q_iᵀ v_i‖², Q_i the rows of the basis in place i."""
        height = blocks.shape[1]
        own = self.basis.view(len(self.basis) // height, height, self.dimension)[places]
        return torch.einsum("nrk,nr->nk", own, blocks).square().sum(dim=1)


def find_range(
    matrix: Float64[Tensor, "n k"], blocks: Float64[Tensor, "samples rows rows"], cut: float
) -> tuple[Subspace, Float64[Tensor, " p"]]:
    """range(M K) by the directions of K above the cut; and the sizes |R_kk| of all directions.

    First U from K alone, by pivoted QR cut where |R_kk| ≤ cut: no block is in it, so none hides a
    direction. Then Q from M U by a QR with sorted rows, which keeps the digits of small rows
    beside large ones.
    """
    inner, triangle, pivots = pivoted_qr(matrix)
    sizes = triangle.diagonal().abs()
    rank = int((sizes > cut).sum())
    inner, outer = inner[:, :rank].contiguous(), triangle[:rank, :rank].contiguous()
    factors = graded_qr(apply_blocks(blocks, inner))
    return Subspace(matrix[:, pivots[:rank]], inner, outer, blocks, *factors), sizes


def apply_blocks(
    blocks: Float64[Tensor, "samples rows rows"], matrix: Float64[Tensor, "n k"]
) -> Float64[Tensor, "n k"]:
    """blockdiag(blocks)·matrix."""
    samples, height, _ = blocks.shape
    return (blocks @ matrix.view(samples, height, matrix.shape[1])).view_as(matrix)
