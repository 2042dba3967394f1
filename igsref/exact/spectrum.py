"""The nonzero eigenvalues of F as proven enclosures, relatively narrow ones, small ones too.

    K = C Cᵀ                    pivoted Cholesky; r columns are all of it, since the rank is r
    F ~ T = Cᵀ Λ' C/N_F         the same nonzero eigenvalues, r × r
    V                           approximate eigenvectors of T, by Jacobi's method; nothing proven
    VᵀTV = S (I + E) S          S diagonal, positive and sorted
    VᵀV = I + E'

Ostrowski's theorem: λ_k(XᵀTX) = θ_k λ_k(T) with θ_k between the ends of the spectrum of XᵀX, for
symmetric T and nonsingular X. Used for X = V, and for X = S, it gives

    λ_k(T) = s_k² (1 ± ‖E‖)/(1 ± ‖E'‖),

whatever V is, so that multiple eigenvalues need no care. ‖·‖: the largest absolute row sum.
"""

from itertools import combinations

import numpy as np
from flint import arb, arf, ctx

from igsref.exact.arithmetic import BALLS, RATIONALS, Array, Undecided
from igsref.exact.decimals import Decimals, enclosed
from igsref.exact.energy import blockwise
from igsref.exact.network import is_piecewise_rational, linearised
from igsref.exact.output_metric import output_metric
from igsref.problem import Problem

_FIRST_BITS = 256
_MOST_BITS = 2**13
_MOST_SWEEPS = 60


def certified_eigenvalues(problem: Problem, rank: int, digits: int) -> tuple[Decimals, ...]:
    """The nonzero eigenvalues of F, largest first, each as often as it occurs.

    problem: one that exact arithmetic supports. rank: of F, exactly; it is believed.
    digits: at least so many of each are proven.
    Raises ArithmeticError where 2¹³ bits do not give the digits.
    """
    exact = linearised(problem, RATIONALS) if is_piecewise_rational(problem) else None
    bits = _FIRST_BITS
    while bits <= _MOST_BITS:
        with ctx.workprec(bits):
            try:
                seen = exact or linearised(problem, BALLS)
                gram, logits = _balls(seen.gram), _balls(seen.logits)
                metric = output_metric(problem, logits).metric / problem.pool_size
                found = nonzero_eigenvalues(gram, metric, rank)
            except Undecided:
                found = None
            if found is not None and all(v.rad() <= abs(v) * arb(10) ** -digits for v in found):
                return tuple(enclosed(value) for value in found)
        bits *= 2
    raise ArithmeticError(
        f"{digits} digits of {rank} eigenvalues could not be certified with {_MOST_BITS} bits"
    )


def nonzero_eigenvalues(gram: Array, metric: Array, rank: int) -> list[arb]:
    """Those of blockdiag(metric)·K in balls at the precision now, largest first.

    gram: K, (n, n), positive semidefinite and of exactly this rank. metric: positive definite
    blocks, (k, rows, rows).
    Raises Undecided where the precision does not show the pivots of K, or V to be nonsingular.
    """
    if rank == 0:
        return []
    root = pivoted_root(gram, rank)
    whole = BALLS.matmul(root.T, blockwise(metric, root))
    vectors = approximate_eigenvectors(whole)
    turned = BALLS.matmul(root, vectors)
    squared = BALLS.matmul(turned.T, blockwise(metric, turned))
    sizes = squared.diagonal()
    if not all(size > 0 for size in sizes):
        raise Undecided("a diagonal entry of VᵀTV is not shown to be positive")
    scale = np.array([size.rsqrt() for size in sizes], dtype=object)
    graded = _distance_from_identity(scale[:, None] * squared * scale)
    turning = _distance_from_identity(BALLS.matmul(vectors.T, vectors))
    if not (graded < 1 and turning < 1):
        raise Undecided("approximate eigenvectors are too far from orthogonal ones")
    around = _around_one(graded) / _around_one(turning)
    ends = [size * around for size in sizes]
    # The k-th largest λ is between the k-th largest lower and the k-th largest upper ends.
    lower = sorted((end.lower() for end in ends), key=_middle, reverse=True)
    upper = sorted((end.upper() for end in ends), key=_middle, reverse=True)
    return [low.union(high) for low, high in zip(lower, upper, strict=True)]


def pivoted_root(gram: Array, rank: int) -> Array:
    """C, (n, rank) balls, with K = C Cᵀ exactly if K has that rank.

    Raises Undecided where a pivot is not shown to be positive.
    """
    rest, columns = gram.copy(), []
    for step in range(rank):
        best = max(range(len(rest)), key=lambda j: _middle(rest.item(j, j)))
        if not rest[best, best] > 0:
            raise Undecided(f"pivot {step} of {rank} is not shown to be positive")
        columns.append(rest[:, best] * rest[best, best].rsqrt())
        rest = rest - np.outer(columns[-1], columns[-1])
        rest[best], rest[:, best] = arb(0), arb(0)  # exactly
    return np.stack(columns, axis=1)


def approximate_eigenvectors(matrix: Array) -> Array:
    """V of a positive definite matrix, by Jacobi's rotations of its midpoints; exact numbers.

    Until no entry of VᵀTV exceeds 2^(−bits/2) of the geometric mean of its two diagonal entries,
    or for a limited number of sweeps.
    """
    m = np.vectorize(_middle, otypes=[object])(matrix)
    v = np.full(m.shape, arf(0), dtype=object)
    np.fill_diagonal(v, arf(1))
    small = _middle(arb(2) ** -ctx.prec)
    for _ in range(_MOST_SWEEPS):
        large = 0
        for p, q in combinations(range(len(m)), 2):
            if m[p, q] * m[p, q] > small * abs(m[p, p] * m[q, q]):
                _rotate(m, v, p, q)
                large += 1
        if not large:
            break
    return np.vectorize(arb, otypes=[object])(v)


def _rotate(m: Array, v: Array, p: int, q: int) -> None:
    """The rotation that makes m_pq zero, applied to m from both sides and to v from the right."""
    ratio = arb((m[q, q] - m[p, p]) / (m[p, q] + m[p, q]))
    tangent = 1 / (abs(ratio) + (1 + ratio * ratio).sqrt())
    tangent = -tangent if ratio < 0 else tangent
    cosine = (1 + tangent * tangent).rsqrt()
    c, s = _middle(cosine), _middle(tangent * cosine)
    for rows in (m, m.T, v.T):
        rows[p], rows[q] = rows[p] * c - rows[q] * s, rows[p] * s + rows[q] * c


def _distance_from_identity(matrix: Array) -> arb:
    """The largest absolute row sum of the matrix less the identity, an upper end."""
    rest = matrix.copy()
    np.fill_diagonal(rest, matrix.diagonal() - 1)
    return max((sum(map(abs, row), arb(0)).upper() for row in rest), key=_middle)


def _around_one(radius: arb) -> arb:
    return 1 + (-radius).union(radius)


def _middle(ball: arb) -> arf:
    """The midpoint, as a number that can be compared and is computed with without radii."""
    return arf(ball.mid().man_exp())


def _balls(values: Array) -> Array:
    return np.vectorize(arb, otypes=[object])(values)
