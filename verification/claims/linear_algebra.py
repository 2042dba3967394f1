"""Exact linear algebra over the rationals: ranges, projectors, pseudo-inverses, bases.

Matrices are ``fmpq_mat``; a vector is a matrix of one column.
"""

import random
from collections.abc import Iterable, Sequence

from flint import fmpq, fmpq_mat

Number = int | fmpq


def matrix(rows: Sequence[Sequence[Number]]) -> fmpq_mat:
    """A matrix from its rows, at least one."""
    return fmpq_mat(len(rows), len(rows[0]), [entry for row in rows for entry in row])


def column(entries: Sequence[Number]) -> fmpq_mat:
    return fmpq_mat(len(entries), 1, list(entries))


def zeros(rows: int, columns: int) -> fmpq_mat:
    return fmpq_mat(rows, columns)


def identity(size: int) -> fmpq_mat:
    return diagonal([fmpq(1)] * size)


def diagonal(entries: Sequence[Number]) -> fmpq_mat:
    size = len(entries)
    return matrix([[entries[i] if i == j else fmpq(0) for j in range(size)] for i in range(size)])


def rows_of(a: fmpq_mat) -> list[list[fmpq]]:
    return a.tolist()


def stack(parts: Iterable[fmpq_mat]) -> fmpq_mat:
    """One matrix above the other."""
    return matrix([row for part in parts for row in rows_of(part)])


def beside(parts: Iterable[fmpq_mat]) -> fmpq_mat:
    return stack(part.transpose() for part in parts).transpose()


def select(a: fmpq_mat, rows: Sequence[int], columns: Sequence[int]) -> fmpq_mat:
    return matrix([[a[i, j] for j in columns] for i in rows])


def dot(v: fmpq_mat, w: fmpq_mat) -> fmpq:
    """vᵀw."""
    return (v.transpose() * w)[0, 0]


def total(parts: Iterable[fmpq_mat]) -> fmpq_mat:
    """Sum of at least one matrix."""
    first, *rest = parts
    return sum(rest, first)


def pivot_columns(a: fmpq_mat) -> list[int]:
    """Columns that are no combination of those before them: a basis of the range."""
    reduced, rank = a.rref()
    return [next(j for j in range(a.ncols()) if reduced[i, j] != 0) for i in range(rank)]


def basis(a: fmpq_mat) -> fmpq_mat:
    """Columns of ``a`` that form a basis of its range; ``a`` must not be 0."""
    return select(a, range(a.nrows()), pivot_columns(a))


def projector(a: fmpq_mat) -> fmpq_mat:
    """P = B (BᵀB)⁻¹ Bᵀ, the orthogonal projector onto range(a), B a basis of it."""
    if a.rank() == 0:
        return zeros(a.nrows(), a.nrows())
    spanning = basis(a)
    turned = spanning.transpose()
    return spanning * (turned * spanning).inv() * turned


def pseudo_inverse(a: fmpq_mat) -> fmpq_mat:
    """a⁺ = Cᵀ (C Cᵀ)⁻¹ (BᵀB)⁻¹ Bᵀ for a = B C of full column and row rank (Moore and Penrose)."""
    if a.rank() == 0:
        return zeros(a.ncols(), a.nrows())
    b = basis(a)
    c = select(a.rref()[0], range(b.ncols()), range(a.ncols()))
    bt, ct = b.transpose(), c.transpose()
    return ct * (c * ct).inv() * (bt * b).inv() * bt


def null_basis(a: fmpq_mat) -> list[fmpq_mat]:
    """Independent columns that span {x : a x = 0}."""
    reduced, rank = a.rref()
    pivots = pivot_columns(a)
    free = [j for j in range(a.ncols()) if j not in pivots]
    vectors = []
    for j in free:
        x = [fmpq(0)] * a.ncols()
        x[j] = fmpq(1)
        for i in range(rank):
            x[pivots[i]] = -reduced[i, j]
        vectors.append(column(x))
    return vectors


def completed(a: fmpq_mat) -> fmpq_mat:
    """An invertible matrix whose first rows are those of ``a``, of full row rank."""
    pivots = pivot_columns(a)
    unit = rows_of(identity(a.ncols()))
    return matrix(rows_of(a) + [unit[j] for j in range(a.ncols()) if j not in pivots])


def random_matrix(draw: random.Random, rows: int, columns: int, largest: int = 4) -> fmpq_mat:
    """Entries k/d with |k| ≤ largest and d ∈ {1, 2, 3}."""
    entries = [
        fmpq(draw.randint(-largest, largest), draw.randint(1, 3)) for _ in range(rows * columns)
    ]
    return fmpq_mat(rows, columns, entries)


def random_of_rank(draw: random.Random, rows: int, columns: int, rank: int) -> fmpq_mat:
    """A product of two random factors; drawn again until the rank is the one asked for."""
    while True:
        a = random_matrix(draw, rows, rank) * random_matrix(draw, rank, columns)
        if a.rank() == rank:
            return a


def random_invertible(draw: random.Random, size: int) -> fmpq_mat:
    return random_of_rank(draw, size, size, size)
