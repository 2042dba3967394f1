"""Fewer columns give lower bounds, blocks of rows give upper bounds."""

import itertools
import random
from collections.abc import Callable, Sequence

from flint import fmpq, fmpq_mat

from verification.claims.claim import Claim, listed, require
from verification.claims.linear_algebra import (
    beside,
    column,
    matrix,
    projector,
    random_matrix,
    random_of_rank,
    select,
    total,
    zeros,
)
from verification.claims.matrix_free import Whitened, mean, random_whitened, whitened


def full_batch(data: Whitened) -> fmpq:
    """G = (1/N) ‖P Σ v_i‖²."""
    return data.energy(total(data.residuals)) / len(data.residuals)


def minibatch(data: Whitened, size: int, *, replacement: bool) -> fmpq:
    """IGS_b, N ‖P v̄_B‖² averaged over every batch B of that size."""
    count = len(data.residuals)
    batches = (
        itertools.product(range(count), repeat=size)
        if replacement
        else itertools.combinations(range(count), size)
    )
    energies = [data.energy(total([data.residuals[i] for i in batch])) for batch in batches]
    return mean(energies) * fmpq(count, size**2)


def measures(data: Whitened) -> list[fmpq]:
    """IGS, G and IGS_b for b = 1, …, N, drawn with and without replacement."""
    sizes = range(1, len(data.residuals) + 1)
    return [
        data.igs,
        full_batch(data),
        *(minibatch(data, b, replacement=r) for b in sizes for r in (True, False)),
    ]


def of_factor(data: Whitened, factor: fmpq_mat) -> Whitened:
    """The same residuals seen through another factor."""
    return Whitened(factor, projector(factor), data.residuals)


# Statement: A S instead of A gives lower bounds.


def compressions(draw: random.Random, data: Whitened) -> list[fmpq_mat]:
    """A subset of columns, a sketch, a singular S, 0, and one that depends on the residuals."""
    m = data.factor.ncols()
    chosen = select(random_of_rank(draw, m, m, m), range(m), range(3))
    subset = matrix([[int(i == j) for j in (0, 2, 3)] for i in range(m)])
    greedy = data.factor.transpose() * total(data.residuals)
    return [subset, chosen, random_of_rank(draw, m, m, 2), zeros(m, 2), greedy]


def compressed_on_the_right(a: fmpq_mat, s: fmpq_mat) -> fmpq_mat:
    return a * s


def with_a_foreign_column(a: fmpq_mat, s: fmpq_mat) -> fmpq_mat:
    """One column that is no combination of those of A."""
    return beside([a * s, column(list(range(1, a.nrows() + 1)))])


def rows_mixed(a: fmpq_mat, s: fmpq_mat) -> fmpq_mat:
    """Row i of A S taken to row i + 1."""
    rows = (a * s).tolist()
    return matrix([rows[-1], *rows[:-1]])


def check_lower_bounds(
    compress: Callable[[fmpq_mat, fmpq_mat], fmpq_mat] = compressed_on_the_right,
) -> str:
    draw = random.Random(41)
    count = strictly = 0
    for _ in range(3):
        data = random_whitened(draw, samples=3, rank=5)
        exact = measures(data)
        for s in compressions(draw, data):
            smaller = of_factor(data, compress(data.factor, s))
            outside = data.projector - smaller.projector
            require(outside * outside == outside, "P − P' is a projector")
            for value, bound in zip(exact, measures(smaller), strict=True):
                require(bound <= value, "with A S ≤ with A")
                strictly += bound < value
                count += 1
    return f"5 kinds of S, 3 factors: P − P' is a projector; {count} values ≤, {strictly} of them <"


LOWER = Claim(
    name="column-compression-bounds-from-below",
    source="beyond the paper",
    statement="IGS, G and every IGS_b of AS are ≤ those of A, for any S",
    status="proved",
    means="exact rational computation",
    argument="range(AS) ⊂ range(A), so PP' = P'P = P' for the projectors, P − P' is a projector "
    "itself and P' ≤ P. IGS = Σ v_iᵀPv_i, G = (1/N)(Σv_i)ᵀP(Σv_i) and IGS_b = E_B[(N/b²) w_Bᵀ P "
    "w_B], w_B = Σ_{i∈B} v_i, are nonnegative combinations of energies wᵀPw whose w do not depend "
    "on A, so each is ≤ that with P. S may be a subset of the parameters, a sketch, singular, 0, "
    "or chosen with a view to the data. The check enumerates the batches, with and without "
    "replacement, for five kinds of S.",
    check=check_lower_bounds,
    mutations={
        "a column from outside the range": {"compress": with_a_foreign_column},
        "rows moved": {"compress": rows_mixed},
    },
)


# Statement: full row rank of the compressed factor proves saturation.


def check_saturation(columns: int = 6, rank: int | None = None) -> str:
    draw = random.Random(43)
    full, ranks = 6, []
    for parameters in (6, 8, 11):
        factor = random_of_rank(draw, full, parameters, full if rank is None else rank)
        data = whitened(factor, random_matrix(draw, 3, 2))
        s = random_of_rank(draw, parameters, columns, columns)
        smaller = of_factor(data, factor * s)
        ranks.append(smaller.factor.rank())
        require(smaller.igs == data.igs == data.ceiling, "IGS(AS) = IGS = ceiling")
    return (
        f"m = 6, 8, 11 to {columns} columns: ranks {listed(ranks)} of {full} rows, "
        "IGS = ceiling exactly"
    )


SATURATION = Claim(
    name="full-compressed-rank-proves-saturation",
    source="beyond the paper",
    statement="rank(AS) = n (all rows of the reduced factor) for some S ⟹ IGS = ceiling",
    status="proved",
    means="exact rational computation",
    argument="R^n = range(AS) ⊂ range(A) ⊂ R^n, so P = I and IGS = Σ‖v_i‖² = ceiling; IGS of AS is "
    "the ceiling already. A = blockdiag(L_iᵀ)D with invertible L_i, so the rank of DS, which knows "
    "nothing of p, serves as well. Fewer than n columns can prove nothing. The check compresses "
    "factors of 6 rows to 6 columns.",
    check=check_saturation,
    mutations={
        "one column fewer than rows": {"columns": 5},
        "a factor that is not of full row rank": {"rank": 5},
    },
)


# Statement: blocks of samples give upper bounds.

Partition = Sequence[Sequence[int]]
REFINEMENTS: tuple[Partition, ...] = (
    ((0, 1, 2, 3),),
    ((0, 1), (2, 3)),
    ((0,), (1,), (2, 3)),
    ((0,), (1,), (2,), (3,)),
)
"""Each partition of the samples refines the one before it."""


def block_igs(data: Whitened, block: Sequence[int], height: int) -> fmpq:
    """IGS of the samples of one block with the Fisher matrix of that block."""
    chosen = [i * height + c for i in block for c in range(height)]
    factor = select(data.factor, chosen, range(data.factor.ncols()))
    vectors = [select(data.residuals[i], chosen, [0]) for i in block]
    return Whitened(factor, projector(factor), tuple(vectors)).igs


def check_row_blocks(
    combine: Callable[[Sequence[fmpq]], fmpq] = sum,
    partitions: tuple[Partition, ...] = REFINEMENTS,
) -> str:
    draw = random.Random(47)
    chains = []
    for rank in (2, 4, 5):
        data = random_whitened(draw, samples=4, height=2, parameters=5, rank=rank)
        bounds = [combine([block_igs(data, b, 2) for b in parts]) for parts in partitions]
        require(bounds[0] == data.igs, "one block: IGS itself")
        for coarse, fine in itertools.pairwise(bounds):
            require(coarse <= fine, "monotone under refinement")
        require(bounds[-1] <= data.ceiling, "never above the ceiling")
        chains.append([*bounds, data.ceiling])
    strictly = sum(a < b for chain in chains for a, b in itertools.pairwise(chain))
    return (
        f"ranks 2, 4, 5 of 8 rows, blocks of 4, 2, 2 and 1, 1 samples: {len(chains)} rising chains "
        f"up to the ceiling, {strictly} strict steps"
    )


BLOCKS = Claim(
    name="row-blocks-bound-from-above",
    source="beyond the paper",
    statement="IGS ≤ Σ_b IGS(block b) ≤ ceiling, monotone under refinement of the blocks",
    status="proved",
    means="exact rational computation",
    argument="With A_b the rows of the samples in block b, range(A) ⊂ ⊕_b range(A_b) (cut Ax into "
    "its blocks), so P ≤ blockdiag(P_b) and Σ v_iᵀPv_i ≤ Σ_b Σ_{i∈b} v_iᵀP_bv_i; the b-th term is "
    "the IGS of block b, whose factor 1/N_b cancels in IGS = Σ v_iᵀPv_i: sums, not means, of the "
    "blocks. The same inclusion for the parts of a block gives monotony, and v_iᵀP_bv_i ≤ ‖v_i‖² "
    "the ceiling, which is reached iff every block is saturated in its v_i. Blocks must be a "
    "partition. The check computes four nested partitions exactly.",
    check=check_row_blocks,
    mutations={
        "the mean over the blocks": {"combine": mean},
        "a sample left out": {"partitions": (*REFINEMENTS[:2], ((0,), (1,), (2,)))},
        "coarser instead of finer": {"partitions": (REFINEMENTS[0], *REFINEMENTS[:0:-1])},
    },
)

CLAIMS = (LOWER, SATURATION, BLOCKS)
