"""IGS as a sum of leverage scores: its ceiling, duplicates, its expected value."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import sympy
from flint import fmpq, fmpq_mat

from verification.claims.claim import Claim, require
from verification.claims.exact_geometry import (
    Pool,
    ceiling,
    centred_rows,
    counted,
    diagonal,
    fisher,
    igs,
    in_row_space,
    null_space,
    random_pools,
    rational,
    require_on_pools,
)
from verification.claims.normal_form import CASES, CLASSES, column, require_zero, simplex, unit

THIRD = fmpq(1, 3)


def leverages(pool: Pool) -> list[list[fmpq]]:
    """The diagonal h of the projector onto range A, (N, C), by the complement of the range.

    w ⊥ range A = range diag(√p)B iff w = u/√p with Bᵀu = 0. With a basis U of these u the
    complement has the diagonal U_c (Uᵀ diag(1/p) U)⁻¹ U_cᵀ / p_c: no F and no pseudo-inverse.
    """
    p = [entry for probabilities in pool.probabilities for entry in probabilities]
    basis = null_space(centred_rows(pool).transpose())
    gram = basis.transpose() * diagonal([1 / entry for entry in p]) * basis
    inner = basis * gram.inv() * basis.transpose()
    h = [1 - inner[c, c] / p_c for c, p_c in enumerate(p)]
    classes = len(pool.probabilities[0])
    return [h[i : i + classes] for i in range(0, len(h), classes)]


def label_rows(pool: Pool) -> list[fmpq_mat]:
    """v_i/√p for each i, a row over all N·C entries: 1 − e_y/p_y at sample i, 0 elsewhere."""
    rows = []
    for i, label in enumerate(pool.labels):
        blocks = [[fmpq(0)] * len(p) for p in pool.probabilities]
        blocks[i] = [1 - fmpq(int(c == label)) / p_c for c, p_c in enumerate(pool.probabilities[i])]
        rows.append(rational([list(itertools.chain(*blocks))]))
    return rows


def one_logit_moves(direction: Sequence[int] = (0, 0, 1)) -> Pool:
    """N = 1, C = 3, p = (⅓, ⅓, ⅓), one parameter, label 3."""
    return Pool((rational([[entry] for entry in direction]),), ((THIRD,) * 3,), (2,))


# Leverage scores.


def check_sum(root: bool = False, mean: bool = False, wrong_label: bool = False) -> str:
    """IGS by its definition against Σ h/p with h from the complement of the range."""
    pools = random_pools(25)

    def agrees(pool: Pool) -> bool:
        total = fmpq(0)
        for h, p, y in zip(leverages(pool), pool.probabilities, pool.labels, strict=True):
            label = (y + 1) % len(p) if wrong_label else y
            total += h[label] if root else h[label] / p[label]
        return igs(pool) == (total / len(pool) if mean else total)

    require_on_pools(pools, agrees, "IGS = Σ h_{i,y}/p_{i,y}")
    return f"{counted(pools)} with singular F: equal"


SUM = Claim(
    name="igs-is-a-sum-of-leverages",
    source="beyond the paper",
    statement="IGS = Σ_i h_{i,y_i}/p_{i,y_i}, h the diagonal of the projector P onto range(A)",
    status="proved",
    means="exact rational computation",
    argument=(
        "F = AᵀA/N gives F⁺ = N (AᵀA)⁺, and g_i = −a/√p_y with a = eᵀA, e the unit vector of row "
        "(i, y_i) of A. So g_i F⁺ g_iᵀ = N eᵀ A(AᵀA)⁺Aᵀ e / p_y = N h_{i,y}/p_y, for A(AᵀA)⁺Aᵀ is "
        "the orthogonal projector onto range A; the mean over i cancels N. The check computes the "
        "left side by its definition and h without F: from the null vectors of Aᵀ, whose projector "
        "is I − P."
    ),
    check=check_sum,
    mutations={
        "p left out": {"root": True},
        "1/N left in": {"mean": True},
        "the leverage of another class": {"wrong_label": True},
    },
)


# The ceiling.


def check_ceiling(added: int = 0, by_rank: bool = False) -> str:
    """The symbolic step; IGS ≤ ceiling on pools of growing rank; equality iff all v_i in range."""
    zeros = 0
    for classes in CLASSES:
        p = simplex(classes)
        roots = column(sympy.symbols(f"r:{classes}", positive=True))
        squares = {r**2: q for r, q in zip(roots, p, strict=True)}
        for label in range(classes):
            rest = unit(classes, label) - roots[label] * roots
            products = column([roots.dot(rest), rest.dot(rest) - (1 - p[label])])
            zeros += require_zero(products.expand().subs(squares), "√pᵀu and ‖u‖² − (1 − p_y)")
    pools = [
        pool for rank in range(1, 8) for pool in random_pools(6, seed=rank, rank=rank, parameters=7)
    ]
    reached = 0
    for pool in [*pools, one_logit_moves()]:
        value = igs(pool)
        highest = ceiling(pool) + added * len(pool)
        require(value <= highest, "IGS ≤ Σ (1 − p_y)/p_y")
        rows = centred_rows(pool)
        inside = (
            rows.rank() == len(pool) * (len(pool.probabilities[0]) - 1)
            if by_rank
            else all(in_row_space(v, rows.transpose()) for v in label_rows(pool))
        )
        require((value == highest) == inside, "the ceiling is reached iff every v_i is in range A")
        reached += int(inside)
    return f"{CASES}: {zeros} identities; reached in {reached} of {len(pools) + 1} exact pools"


CEILING = Claim(
    name="igs-ceiling",
    source="beyond the paper",
    statement=(
        "IGS ≤ Σ_i (1 − p_{i,y_i})/p_{i,y_i} = Σ_i expm1(l_i), with equality iff every v_i ∈ "
        "range(A)"
    ),
    status="proved",
    means="exact rational computation",
    argument=(
        "Let q_i be √p_i at the rows of sample i and 0 elsewhere, a unit vector with q_iᵀA = "
        "√p_iᵀM_iJ_i = 0. So P e = P(e − √p_y q_i) for the unit vector e of row (i, y_i), and h = "
        "‖P(e − √p_y q_i)‖² ≤ ‖e − √p_y q_i‖² = 1 − p_y, with equality iff e − √p_y q_i = −√p_y "
        "v_i lies in range A. Dividing by p_y and summing gives the bound; the sum reaches it iff "
        "each term does. p_y = exp(−l) makes the term expm1(l): the ceiling is a function of the "
        "losses alone. If the reduced factor, of N(C − 1) rows, has full row rank, range A is the "
        "whole complement of the q_i and the ceiling is reached. The check runs the two "
        "identities, then pools of rank 1 to 7 and decides v_i ∈ range A by exact ranks."
    ),
    check=check_ceiling,
    mutations={
        "1/p_y in the place of (1 − p_y)/p_y": {"added": 1},
        "1/p_y − 2 in its place": {"added": -1},
        "equality iff full row rank": {"by_rank": True},
    },
)


# Full row rank is not necessary.


def check_not_necessary(direction: Sequence[int] = (0, 0, 1)) -> str:
    """IGS, ceiling and rank of one sample in which only the logit of the label moves."""
    pool = one_logit_moves(direction)
    rank, full = fisher(pool).rank(), len(pool) * (len(direction) - 1)
    require(rank < full, "the reduced factor has not full row rank")
    require(igs(pool) == ceiling(pool), "the ceiling is reached all the same")
    return f"rank {rank} of {full}, IGS = {igs(pool)} = ceiling"


NOT_NECESSARY = Claim(
    name="ceiling-needs-full-row-rank",
    source="beyond the paper",
    statement="IGS reaches its ceiling only if the reduced factor has full row rank N(C − 1)",
    status="refuted",
    means="exact rational computation",
    argument=(
        "Full row rank is sufficient, see igs-ceiling, but all that is needed is that range A has "
        "the N vectors v_i, which are orthogonal to one another. For C = 2 they span N = N(C − 1) "
        "dimensions, and full row rank is necessary as well. For C ≥ 3 it is not. If only the "
        "logit of the label moves, J = e_y, then A = M e_y = −p_y v: one parameter for each sample "
        "is enough for any C. So N = 1, C = 3, m = 1 is the smallest case."
    ),
    check=check_not_necessary,
    mutations={
        "another logit moves": {"direction": (0, 1, 0)},
        "no logit moves": {"direction": (1, 1, 1)},
    },
    counterexample=(
        "N = 1, C = 3, m = 1, J = (0, 0, 1)ᵀ, p = (⅓, ⅓, ⅓), y = 3: rank 1 < 2 and IGS = 2 = (1 − "
        "⅓)/⅓."
    ),
)


# Duplicates.


def duplicated(pool: Pool, copies: int, seed: int) -> Pool:
    """The first input ``copies`` times, with drawn labels of its own."""
    rng, extra = random.Random(seed), copies - 1
    classes = len(pool.probabilities[0])
    return Pool(
        (pool.jacobians[0],) * extra + pool.jacobians,
        (pool.probabilities[0],) * extra + pool.probabilities,
        tuple(rng.randrange(classes) for _ in range(extra)) + pool.labels,
    )


def check_duplicates(power: int = 1) -> str:
    """IGS against Σ expm1(l)/n(x): never above it, equal where distinct inputs have full rank."""
    lists = (random_pools(8, rank=7, parameters=7), random_pools(8, seed=1, rank=3))
    checked = reached = 0
    for pools in lists:
        for (seed, pool), copies in itertools.product(enumerate(pools), (1, 2, 3)):
            many = duplicated(pool, copies, seed)
            counts = [copies] * copies + [1] * (len(many) - copies)
            true = (p[y] for p, y in zip(many.probabilities, many.labels, strict=True))
            lowered = sum(
                ((1 - p_y) / p_y / n**power for p_y, n in zip(true, counts, strict=True)), fmpq(0)
            )
            value = igs(many)
            require(value <= lowered, "IGS ≤ Σ expm1(l)/n(x)")
            distinct = len(pool) * (len(pool.probabilities[0]) - 1)
            full = centred_rows(pool).rank() == distinct
            require(not full or value == lowered, "IGS = Σ expm1(l)/n(x)")
            checked, reached = checked + 1, reached + int(full)
    require(0 < reached < checked, "pools with and without full row rank")
    return f"{checked} exact pools, multiplicities 1, 2, 3: {reached} of full rank, all equal"


DUPLICATES = Claim(
    name="duplicates-lower-the-ceiling",
    source="beyond the paper",
    statement=(
        "IGS ≤ Σ_i expm1(l_i)/n(x_i), n(x) the multiplicity of the input x; equal if the reduced "
        "factor of the distinct inputs has full row rank"
    ),
    status="proved",
    means="exact rational computation",
    argument=(
        "Copies of an input have the same p and the same rows of A, whatever their labels: every "
        "vector of range A is equal on the n copies and orthogonal to √p on each. Let S be the "
        "space of all vectors with these two properties. Of e, the unit vector of a row (i, y), "
        "the part orthogonal to the q's is u = e_y − √p_y √p at copy i alone, and its projection "
        "onto S is u/n on every copy, of squared length n · (1 − p_y)/n². So h ≤ (1 − p_y)/n, and "
        "dividing by p_y gives the bound. Full row rank of the distinct inputs means range A = S, "
        "hence equality. The check repeats an input up to three times with drawn labels, in pools "
        "with and without full rank."
    ),
    check=check_duplicates,
    mutations={
        "multiplicity ignored": {"power": 0},
        "multiplicity squared": {"power": 2},
    },
)


# The expected value.


def check_expected(uniform: bool = False, full_rank: bool = False) -> str:
    """E[IGS] by all C^N assignments of labels with their probabilities, against rank F."""
    pools, assignments = random_pools(6, rank=2, samples=3), 0
    for pool in pools:
        expected = fmpq(0)
        classes = len(pool.probabilities[0])
        for labels in itertools.product(range(classes), repeat=len(pool)):
            weight = fmpq(1)
            for p, y in zip(pool.probabilities, labels, strict=True):
                weight *= fmpq(1, classes) if uniform else p[y]
            expected += weight * igs(replace(pool, labels=labels))
            assignments += 1
        rank = len(pool) * (classes - 1) if full_rank else fisher(pool).rank()
        require(expected == rank, "E[IGS] = rank F")
    return f"{counted(pools)} of rank 2, {assignments} assignments of labels: equal"


EXPECTED = Claim(
    name="expected-igs-is-the-rank",
    source="beyond the paper",
    statement="E_{y∼p}[IGS] = tr P = rank F",
    status="proved",
    means="exact rational computation",
    argument=(
        "F and P do not depend on the labels, so E[IGS] = Σ_i Σ_c p_{i,c} · h_{i,c}/p_{i,c} = "
        "Σ_{i,c} h_{i,c} = tr P, the dimension of range A, which is rank F since F = AᵀA/N. Labels "
        "drawn from the model make IGS count effective parameters; the ceiling has the expected "
        "value N(C − 1). The check sums IGS by its definition over all C^N assignments of labels."
    ),
    check=check_expected,
    mutations={
        "uniform labels": {"uniform": True},
        "N(C − 1) in the place of the rank": {"full_rank": True},
    },
)

CLAIMS: tuple[Claim, ...] = (SUM, CEILING, NOT_NECESSARY, DUPLICATES, EXPECTED)
