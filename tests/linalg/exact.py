"""Matrices of floats as rational ones, and matrices that are known approximately."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st
from torch import Tensor

from igsref.linalg.assess import Assessment, assess
from igsref.linalg.orthogonal import pivoted_qr
from igsref.linalg.range import Rows, Subspace, find_range
from tests.strategies import SEEDS, gaussian

SPOILED = st.sampled_from([0.0, 0.0, 1e-14, 1e-9, 1e-3])
"""Sizes by which the factors of a subspace may be off."""
FACTORS = (2.0**-10, 1.0, 2.0**10)
"""Rows of a block differ in size by these, on top of what samples do."""


def doubles(values: Sequence) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def fraction(value: float) -> fmpq:
    return fmpq(*float(value).as_integer_ratio())


def rational(matrix: Tensor) -> fmpq_mat:
    """The same numbers."""
    return fmpq_mat(*matrix.shape, [fraction(v) for v in matrix.flatten().tolist()])


def columns_of(matrix: fmpq_mat, which: list[int]) -> fmpq_mat:
    entries = [matrix[i, j] for i in range(matrix.nrows()) for j in which]
    return fmpq_mat(matrix.nrows(), len(which), entries)


def entries(matrix: fmpq_mat) -> list[list[fmpq]]:
    return [[matrix[i, j] for j in range(matrix.ncols())] for i in range(matrix.nrows())]


def square(matrix: fmpq_mat) -> fmpq:
    """‖·‖_F²."""
    return sum((v * v for row in entries(matrix) for v in row), fmpq(0))


def identity(size: int) -> fmpq_mat:
    return rational(torch.eye(size))


def energy(spanning: fmpq_mat, vectors: fmpq_mat) -> fmpq:
    """‖P V‖_F², P the projector onto the range of a matrix of full column rank."""
    turned = spanning.transpose()
    inside = turned * vectors
    coordinates = (turned * spanning).solve(inside)
    products = zip(inside.entries(), coordinates.entries(), strict=True)
    return sum((a * b for a, b in products), fmpq(0))


def root_above(squared: fmpq) -> float:
    """A float not below the root, and hardly above."""
    guess = (float(squared.p) / float(squared.q)) ** 0.5 if squared else 0.0
    while fraction(guess) ** 2 < squared:
        guess = max(guess * (1 + 2.0**-50), 2.0**-500)
    return guess


@dataclass(frozen=True, eq=False)
class Known:
    """K + E = spanning·G of full row rank G, of which K and |E_j x| ≤ e_j ‖x‖ are known.

    matrix: K. exact: K + E. spanning: rank columns with the same range. row_error: e.
    """

    matrix: Tensor
    exact: fmpq_mat
    spanning: fmpq_mat
    row_error: Tensor
    blocks: Tensor

    @property
    def rank(self) -> int:
        return self.spanning.ncols()

    @property
    def height(self) -> int:
        return self.blocks.shape[1]

    def mixed(self) -> fmpq_mat:
        """M."""
        return rational(torch.block_diag(*self.blocks))

    def energy(self, parts: Tensor) -> fmpq:
        """‖P V‖_F² onto range(M (K + E)), V one column a sample with its block in place."""
        embedded = torch.block_diag(*parts[:, None]).mT
        return energy(self.mixed() * self.spanning, rational(embedded))

    def find(self, *, above: float = 1.0) -> Subspace:
        """The subspace of the directions above so many times the error."""
        space, _ = find_range(self.matrix, self.blocks, above * float(self.row_error.norm()))
        return space

    def assess(
        self, *, above: float = 1.0, inflated: float = 1.0, spoiled: float = 0.0
    ) -> Assessment:
        return assess(spoil(self.find(above=above), spoiled), inflated * self.row_error)

    def chosen(self, space: Subspace) -> fmpq_mat:
        """(K + E)_Π."""
        pivots = pivoted_qr(self.matrix)[2][: space.dimension].tolist()
        assert torch.equal(self.matrix[:, pivots], only(space).chosen)
        return columns_of(self.exact, pivots)


def spoil(space: Subspace, size: float) -> Subspace:
    """All four factors off by so much: an assessment trusts none of them."""

    def moved(value: Tensor, seed: int) -> Tensor:
        return value * (1 + size * gaussian(seed, *value.shape))

    rows = only(space)
    rows = replace(rows, inner=moved(rows.inner, 0), basis=moved(rows.basis, 2))
    outer, triangle = moved(space.outer, 1), moved(space.triangle, 3)
    return Subspace(outer, triangle, space.pivots, lambda: [rows])


def known(
    seed: int,
    *,
    samples: int,
    height: int,
    rank: int,
    columns: int,
    noise: float = 0.0,
    fog: float = 0.0,
    decay: float = 1.0,
    grades: list[int] | None = None,
) -> Known:
    """A matrix of that exact rank, known to the rounding of one product.

    noise: K's range is off by so much. fog: K's entries are, so that its rank is not the exact one.
    decay: how the directions fall off. grades: powers of two by which the samples' blocks differ.
    """
    rows = samples * height
    left = gaussian(seed, rows, rank) * decay ** torch.arange(rank).double()
    right = gaussian(seed + 1, rank, columns)
    moved = left * (1 + noise * gaussian(seed + 2, rows, rank))
    matrix = left @ right + fog * gaussian(seed + 4, rows, columns)
    exact = rational(moved) * rational(right)
    row_error = [
        root_above(sum((v * v for v in row), fmpq(0))) for row in entries(exact - rational(matrix))
    ]
    factors = doubles(FACTORS * rows)[:rows]
    scale = factors.view(samples, height) * 2.0 ** doubles(grades or [0] * samples)[:, None]
    mixing = gaussian(seed + 3, samples, height, height).triu() + 2 * torch.eye(height).double()
    return Known(matrix, exact, rational(moved), doubles(row_error), scale[:, :, None] * mixing)


@st.composite
def cases(draw, largest_noise: int = -3, lowest: int = -400) -> Known:
    """Tall and wide, of full rank and not, graded by samples and by directions."""
    samples, height = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rank = draw(st.integers(1, min(samples * height, 6)))
    grade = st.one_of(st.just(0), st.integers(-30, 0), st.integers(lowest, 0))
    return known(
        draw(SEEDS),
        samples=samples,
        height=height,
        rank=rank,
        columns=rank + draw(st.sampled_from([0, 0, 1, 7])),
        noise=draw(st.sampled_from([0.0, *(10.0**e for e in range(-15, largest_noise + 1))])),
        fog=draw(st.sampled_from([0.0, 0.0, 1e-14, 1e-9, 1e-3])),
        decay=draw(st.sampled_from([1.0, 0.1, 1e-3])),
        grades=draw(st.lists(grade, min_size=samples, max_size=samples)),
    )


def only(space: Subspace) -> Rows:
    """The rows of a subspace that is in memory."""
    (rows,) = space.parts()
    return rows
