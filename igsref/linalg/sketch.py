"""A tall matrix shrunk to a few random combinations of its rows, and a triangle made of it.

Sparse signs (Nelson & Nguyen, "OSNAP: faster numerical linear algebra algorithms via sparser
subspace embeddings", FOCS 2013, their block construction): the rows of S A are cut into a few
groups, and each row of A goes, with a random sign, into one random row of each group. With one
group this is the CountSketch of Clarkson and Woodruff (STOC 2013), which loses what two rows alone
hold if they fall together with opposite signs; with more groups that must happen in all of them.
S A needs A once, in any blocks of rows.

With R of S A = Q R the singular values of A R⁻¹ lie near 1, so that LSQR converges in a number of
steps that does not depend on A (Avron, Maymounkov, Toledo, "Blendenpik", SISC 2010).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import SupportsIndex

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from igsref.linalg.products import random_signs, seeded

GROUPS = 8
"""As Martinsson and Tropp recommend ("Randomized numerical linear algebra", Acta Numerica 2020)."""


@dataclass(frozen=True, eq=False)
class SparseSketch:
    """S, (height, rows): one ±1/√g in each of g groups of rows; where, and with what sign."""

    height: int
    places: Int64[Tensor, "groups rows"]
    signs: Float64[Tensor, "groups rows"]

    def add_(
        self, sketch: Float64[Tensor, "height m"], block: Float64[Tensor, "k m"], first: int
    ) -> None:
        """Add S of the rows ``first``, ``first`` + 1, … to a sketch, in place."""
        own = slice(first, first + len(block))
        size = len(self.places) ** -0.5
        for places, signs in zip(self.places[:, own], self.signs[:, own], strict=True):
            rows = block * (size * signs.to(block))[:, None]
            sketch.index_add_(0, places.to(block.device), rows)


def sparse_sketch(rows: int, height: int, seed: SupportsIndex) -> SparseSketch:
    """A random S for so many rows, drawn on the CPU: the same on every device.

    The identity, up to signs, where it would not shrink them.
    """
    generator = seeded(seed)
    if rows <= height:
        signs = random_signs(generator, rows, 1).mT
        return SparseSketch(rows, torch.arange(rows)[None], signs)
    groups = min(GROUPS, height)
    edges = [height * group // groups for group in range(groups + 1)]
    places = [
        torch.randint(low, high, (rows,), generator=generator) for low, high in pairwise(edges)
    ]
    signs = random_signs(generator, rows, groups).mT
    return SparseSketch(height, torch.stack(places), signs)


def damped_triangle(matrix: Float64[Tensor, "rows m"], damping: float) -> Float64[Tensor, "m m"]:
    """Upper R with RᵀR = matrixᵀ·matrix + δ²I, by QR of both one above the other: no square.

    No singular value of R is below δ, and those far above it are the matrix's own.
    """
    unit = damping * torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.qr(torch.cat([matrix, unit]), mode="r").R
