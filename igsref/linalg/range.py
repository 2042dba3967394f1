"""The range of a matrix: what its projector P does to vectors, and how a basis is found.

All routes end here in one of two spaces with the same face: the whole of R^n, or the subspace
that an orthonormal basis spans. How far the second is known, :mod:`igsref.linalg.assess` tells.
"""

from collections.abc import Callable, Iterable
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
class Rows:
    """What belongs to some samples, from sample ``first`` on, of K_Π = U R and M U Π' = Q T.

    chosen, inner, basis: rows of K_Π, U and Q, (rows, r). blocks: of M, (samples, R, R).
    """

    first: int
    chosen: Float64[Tensor, "rows r"]
    inner: Float64[Tensor, "rows r"]
    basis: Float64[Tensor, "rows r"]
    blocks: Float64[Tensor, "samples height height"]

    @property
    def columns(self) -> Float64[Tensor, "rows r"]:
        """Rows of M K_Π."""
        return apply_blocks(self.blocks, self.chosen)

    @property
    def span(self) -> slice:
        """Where these rows are in R^n."""
        start = self.first * self.blocks.shape[1]
        return slice(start, start + len(self.chosen))


@dataclass(frozen=True, eq=False)
class Subspace:
    """range(M K), M = blockdiag(blocks) invertible: a basis Q, and the way from K's columns to it.

    outer: R of K_Π = U R for r pivot columns of K, (r, r). triangle, pivots: T and Π' of
    M U Π' = Q T. parts: the rows of K_Π, U, Q, M in order, some samples at a time; may be asked
    for again.
    """

    outer: Float64[Tensor, "r r"]
    triangle: Float64[Tensor, "r r"]
    pivots: Int64[Tensor, " r"]
    parts: Callable[[], Iterable[Rows]]

    @property
    def dimension(self) -> int:
        """r."""
        return len(self.outer)

    def coordinates(self, vectors: "Vectors", rank: int) -> Float64[Tensor, "rank k"]:
        """Q_{≤rank}ᵀ V."""
        return torch.stack(
            [rows.basis[:, :rank].mT @ vectors.rows(rows.span) for rows in self.parts()]
        ).sum(dim=0)

    def energy(self, vectors: Float64[Tensor, "n k"]) -> Float64[Tensor, " k"]:
        """‖QᵀV_j‖²."""
        return self.coordinates(Dense(vectors), self.dimension).square().sum(dim=0)

    def block_energy(
        self, blocks: Float64[Tensor, "samples rows"], places: Int64[Tensor, " samples"]
    ) -> Float64[Tensor, " samples"]:
        """‖Q_iᵀ v_i‖², Q_i the rows of the basis in place i."""
        out = torch.zeros_like(blocks[:, 0])
        for rows in self.parts():
            here = (places >= rows.first) & (places < rows.first + len(rows.blocks))
            basis = rows.basis.view(len(rows.blocks), blocks.shape[1], self.dimension)
            own = basis[places[here] - rows.first]
            out[here] = torch.einsum("nrk,nr->nk", own, blocks[here]).square().sum(dim=1)
        return out


@runtime_checkable
class Vectors(Protocol):
    """Columns of a matrix V that need not be there as a whole."""

    def squares(self) -> Float64[Tensor, " k"]:
        """‖V_j‖²."""
        ...

    def length(self) -> int:
        """How many numbers of a column may differ from 0."""
        ...

    def rows(self, span: slice) -> Float64[Tensor, "rows k"]:
        """These rows of V."""
        ...


@dataclass(frozen=True, eq=False)
class Dense:
    """V itself."""

    matrix: Float64[Tensor, "n k"]

    def squares(self) -> Float64[Tensor, " k"]:
        """‖V_j‖²."""
        return self.matrix.square().sum(dim=0)

    def length(self) -> int:
        """n."""
        return len(self.matrix)

    def rows(self, span: slice) -> Float64[Tensor, "rows k"]:
        """These rows of V."""
        return self.matrix[span]


@dataclass(frozen=True, eq=False)
class Blocks:
    """One column a sample: block i in place i, 0 elsewhere."""

    blocks: Float64[Tensor, "samples height"]
    places: Int64[Tensor, " samples"]

    def squares(self) -> Float64[Tensor, " samples"]:
        """‖V_j‖²."""
        return self.blocks.square().sum(dim=1)

    def length(self) -> int:
        """R."""
        return self.blocks.shape[1]

    def rows(self, span: slice) -> Float64[Tensor, "rows samples"]:
        """These rows of V; the span starts and ends with a sample."""
        height = self.blocks.shape[1]
        first, count = span.start // height, (span.stop - span.start) // height
        out = self.blocks.new_zeros(len(self.blocks), count, height)
        here = ((self.places >= first) & (self.places < first + count)).nonzero()[:, 0]
        out[here, self.places[here] - first] = self.blocks[here]
        return out.view(len(self.blocks), -1).mT

    def split(self, size: int) -> list["Blocks"]:
        """The same columns, ``size`` at a time."""
        pairs = zip(self.blocks.split(size), self.places.split(size), strict=True)
        return [Blocks(*pair) for pair in pairs]


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
    basis, own, order = graded_qr(apply_blocks(blocks, inner))
    rows = Rows(0, matrix[:, pivots[:rank]], inner, basis, blocks)
    return Subspace(outer, own, order, lambda: [rows]), sizes


def apply_blocks(
    blocks: Float64[Tensor, "samples rows rows"], matrix: Float64[Tensor, "n k"]
) -> Float64[Tensor, "n k"]:
    """blockdiag(blocks)·matrix."""
    samples, height, _ = blocks.shape
    return (blocks @ matrix.view(samples, height, matrix.shape[1])).view_as(matrix)
