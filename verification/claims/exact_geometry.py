"""The geometry of IGS in exact rationals: pseudo-inverses, F, g, and IGS by its definition.

Probabilities are rationals here, free of any logits: every identity of the geometry holds for
all p in the simplex, whatever network gives them. Roots of p are avoided by working with the rows
B_i = (I − 1 p_iᵀ) J_i of A_i = diag(√p_i) B_i and the weights p_i.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flint import fmpq, fmpq_mat

from verification.claims.claim import require

Probabilities = Sequence[fmpq]
LARGEST_ENTRY = 3


@dataclass(frozen=True)
class Pool:
    """N labelled samples: J_i (C, m), p_i in the simplex, y_i."""

    jacobians: tuple[fmpq_mat, ...]
    probabilities: tuple[tuple[fmpq, ...], ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)


def rational(rows: Sequence[Sequence[object]]) -> fmpq_mat:
    """A matrix of rationals from rows of integers or rationals."""
    return fmpq_mat([list(row) for row in rows])


def identity(size: int) -> fmpq_mat:
    return diagonal([1] * size)


def diagonal(entries: Sequence[object]) -> fmpq_mat:
    size = range(len(entries))
    return rational([[entries[i] if i == j else 0 for j in size] for i in size])


def stacked(blocks: Sequence[fmpq_mat]) -> fmpq_mat:
    """The blocks under one another."""
    return rational([row for block in blocks for row in block.tolist()])


def row(matrix: fmpq_mat, index: int) -> fmpq_mat:
    return rational([matrix.tolist()[index]])


def form(left: fmpq_mat, matrix: fmpq_mat, right: fmpq_mat) -> fmpq:
    """left · matrix · rightᵀ for two rows."""
    return (left * matrix * right.transpose())[0, 0]


def trace(matrix: fmpq_mat) -> fmpq:
    return sum((matrix[i, i] for i in range(matrix.nrows())), fmpq(0))


def pseudo_inverse(matrix: fmpq_mat) -> fmpq_mat:
    """The Moore–Penrose inverse, from the full-rank factorisation M = B C that rref gives."""
    reduced, rank = matrix.rref()
    if rank == 0:
        return fmpq_mat(matrix.ncols(), matrix.nrows())
    rows, columns = reduced.tolist()[:rank], matrix.transpose().tolist()
    pivots = [next(j for j, entry in enumerate(r) if entry != 0) for r in rows]
    right = rational(rows)
    left = rational([columns[j] for j in pivots]).transpose()
    return (
        right.transpose()
        * (right * right.transpose()).inv()
        * (left.transpose() * left).inv()
        * left.transpose()
    )


def null_space(matrix: fmpq_mat) -> fmpq_mat | None:
    """Columns that span {u : M u = 0}, or None where that is 0."""
    reduced, rank = matrix.rref()
    rows, size = reduced.tolist()[:rank], matrix.ncols()
    pivots = [next(j for j, entry in enumerate(r) if entry != 0) for r in rows]
    vectors = []
    for free in (j for j in range(size) if j not in pivots):
        vector = [fmpq(int(j == free)) for j in range(size)]
        for pivot, reduced_row in zip(pivots, rows, strict=True):
            vector[pivot] = -reduced_row[free]
        vectors.append(vector)
    return rational(vectors).transpose() if vectors else None


def in_row_space(vector: fmpq_mat, matrix: fmpq_mat) -> bool:
    """Whether a row lies in the span of the rows of a matrix, decided by ranks."""
    return stacked([matrix, vector]).rank() == matrix.rank()


# The quantities of one pool.


def softmax_metric(p: Probabilities) -> fmpq_mat:
    """Λ = diag(p) − p pᵀ."""
    classes = range(len(p))
    return rational([[p[c] * (c == k) - p[c] * p[k] for k in classes] for c in classes])


def residual(p: Probabilities, label: int) -> fmpq_mat:
    """∂l/∂f = (p − e_y)ᵀ as a row."""
    return rational([[p_c - (c == label) for c, p_c in enumerate(p)]])


def fisher(pool: Pool) -> fmpq_mat:
    """F = (1/N) Σ J_iᵀ Λ_i J_i, equation (2)."""
    parts = [
        jacobian.transpose() * softmax_metric(p) * jacobian
        for jacobian, p in zip(pool.jacobians, pool.probabilities, strict=True)
    ]
    return sum(parts[1:], parts[0]) / len(pool)


def gradients(pool: Pool) -> list[fmpq_mat]:
    """g_i = (p_i − e_{y_i})ᵀ J_i, rows of length m."""
    return [
        residual(p, label) * jacobian
        for jacobian, p, label in zip(pool.jacobians, pool.probabilities, pool.labels, strict=True)
    ]


def whitened_gram(pool: Pool) -> fmpq_mat:
    """g_i F⁺ g_jᵀ, (N, N)."""
    rows = stacked(gradients(pool))
    return rows * pseudo_inverse(fisher(pool)) * rows.transpose()


def igs(pool: Pool) -> fmpq:
    """IGS by its definition (6): the mean of g_i F⁺ g_iᵀ."""
    return trace(whitened_gram(pool)) / len(pool)


def centred_rows(pool: Pool) -> fmpq_mat:
    """B: the stack of (I − 1 p_iᵀ) J_i, (N·C, m); A = diag(√p) B."""
    return stacked(
        [
            (identity(len(p)) - rational([p] * len(p))) * jacobian
            for jacobian, p in zip(pool.jacobians, pool.probabilities, strict=True)
        ]
    )


def ceiling(pool: Pool) -> fmpq:
    """Σ_i (1 − p_{i,y_i}) / p_{i,y_i}."""
    true = (p[label] for p, label in zip(pool.probabilities, pool.labels, strict=True))
    return sum(((1 - p_y) / p_y for p_y in true), fmpq(0))


# Drawn instances, the same for the same seed.


def random_matrix(rng: random.Random, rows: int, columns: int) -> fmpq_mat:
    return rational(
        [[rng.randint(-LARGEST_ENTRY, LARGEST_ENTRY) for _ in range(columns)] for _ in range(rows)]
    )


def random_invertible(rng: random.Random, size: int) -> fmpq_mat:
    """A drawn invertible matrix, far from orthogonal."""
    while True:
        matrix = random_matrix(rng, size, size)
        if matrix.det() != 0:
            return matrix


def random_simplex(rng: random.Random, classes: int) -> tuple[fmpq, ...]:
    weights = [rng.randint(1, 9) for _ in range(classes)]
    return tuple(fmpq(weight, sum(weights)) for weight in weights)


def random_pool(
    rng: random.Random, *, samples: int = 3, classes: int = 3, parameters: int = 5, rank: int = 3
) -> Pool:
    """N samples whose rows J lie in one space of dimension ≤ rank < m, so that F is singular."""
    space = random_matrix(rng, rank, parameters)
    return Pool(
        tuple(random_matrix(rng, classes, rank) * space for _ in range(samples)),
        tuple(random_simplex(rng, classes) for _ in range(samples)),
        tuple(rng.randrange(classes) for _ in range(samples)),
    )


def random_pools(count: int, *, seed: int = 0, **sizes: int) -> list[Pool]:
    """Pools of 3, 2 and 4 classes in turn, unless ``classes`` is given."""
    rng = random.Random(seed)
    turns = itertools.cycle([sizes.pop("classes")] if "classes" in sizes else [3, 2, 4])
    return [random_pool(rng, classes=next(turns), **sizes) for _ in range(count)]


def counted(pools: Sequence[Pool]) -> str:
    """How many pools there are, and of how many classes, for the evidence."""
    classes = sorted({pool.jacobians[0].nrows() for pool in pools})
    return f"{len(pools)} exact pools (C = {', '.join(map(str, classes))})"


def require_on_pools(pools: Sequence[Pool], holds: Callable[[Pool], bool], what: str) -> None:
    """Require a property of each pool, and that F is singular in at least one of them."""
    for index, pool in enumerate(pools):
        require(holds(pool), f"{what} in pool {index}")
    require(
        any(fisher(pool).rank() < pool.jacobians[0].ncols() for pool in pools),
        "at least one F is singular",
    )
