"""Equations (10) and (11), Appendix E: steps to a boundary and their sum, to first order."""

import random
from collections.abc import Sequence

import sympy
from flint import fmpq, fmpq_mat

from verification.claims.claim import Claim, require
from verification.claims.exact_geometry import (
    Pool,
    fisher,
    form,
    gradients,
    pseudo_inverse,
    random_matrix,
    random_pools,
    rational,
    row,
    stacked,
)
from verification.claims.linear_algebra import projector
from verification.claims.normal_form import column, require_zero, unit

CLASSES = (2, 3, 4)
LOG_BITS = 200

# The sum over eigenvectors, to first order.

# Orthogonal: quaternion (1, 1, 2, 0), squared length 6.
EIGENVECTORS = sympy.Matrix([[-2, 4, 4], [4, 4, -2], [-4, 2, -4]]) / 6


def check_sum(power: int = 2, null_part: int = 0) -> str:
    """Eigenvalues, slopes and the headroom as symbols, rational eigenvectors, F of rank 2 of 3."""
    eigenvalues = [*sympy.symbols("lambda1 lambda2", positive=True), sympy.Integer(0)]
    headroom = sympy.Symbol("M", nonzero=True)
    slopes = [*sympy.symbols("a b", nonzero=True), null_part * sympy.Symbol("c", nonzero=True)]
    u = EIGENVECTORS
    require(u.T * u == sympy.eye(3), "orthonormal eigenvectors")
    F = u * sympy.diag(*eigenvalues) * u.T
    g = u * column(slopes)
    solution = u * column([slopes[0] / eigenvalues[0], slopes[1] / eigenvalues[1], 0])
    zeros = require_zero(F * solution - g, "F x − gᵀ")
    steps = [headroom / (g.T * u[:, k])[0, 0] for k in range(2)]
    total = sum(1 / (step**power * value) for step, value in zip(steps, eigenvalues, strict=False))
    right = (g.T * solution)[0, 0] / headroom**2
    zeros += require_zero([total - right], "Σ 1/(ε²λ) − gF⁺gᵀ/M²")
    return f"rank 2 of 3, symbols λ, g·u, M: {zeros} entries, all 0"


SUM = Claim(
    name="margin-sum-to-first-order",
    source="(10), (11)",
    statement=(
        "ε_ik = (log 2 − l_i)/(g_i·u_k) ⟹ Σ_{λ_k>0} 1/(ε_ik² λ_k) = g_i F⁺ g_iᵀ/(log 2 − l_i)²; "
        "the same for any first-order gap and its gradient in range F"
    ),
    status="proved",
    means="symbolic identity",
    argument=(
        "F⁺ = Σ_{λ_k>0} u_ku_kᵀ/λ_k, so gF⁺gᵀ = Σ (g·u_k)²/λ_k = M² Σ 1/(ε_k²λ_k), M the "
        "numerator. If g·u_k = 0 the boundary is not reached to first order, ε_k = ∞, and the term "
        "is 0. Since g_i lies in range F, g·u_k = 0 wherever λ_k = 0: nothing is lost by leaving "
        "those out. A covector outside of range F would have finite steps at λ = 0, and no finite "
        "sum. Rotations within an eigenspace leave the sum alone. The check takes λ_k, g·u_k and M "
        "as symbols, rational eigenvectors, a singular F, and gF⁺gᵀ from a solution of F x = gᵀ."
    ),
    check=check_sum,
    mutations={
        "ε not squared": {"power": 1},
        "g outside of range F": {"null_part": 1},
    },
)

# Any number of classes: the covectors of the boundaries.

ROOTS = ((2, 2, 1), (1, 2, 2), (2, 1, 2))
# √p = root/3: rational roots, so that A is rational.


def check_multiclass(sign: int = 1, count_samples: bool = True) -> str:
    """Mᵀt_c = e_y − e_c in symbols; a_cF⁺a_cᵀ against the projector onto range A in rationals."""
    zeros = 0
    for classes in CLASSES:
        free = list(sympy.symbols(f"r1:{classes}", positive=True))
        first = sympy.sqrt(1 - sum(r**2 for r in free))
        roots = [first, *free]
        M = sympy.diag(*roots) * (
            sympy.eye(classes) - sympy.ones(classes, 1) * sympy.Matrix([[r**2 for r in roots]])
        )
        for c in range(1, classes):
            t = unit(classes, 0) / roots[0] - sign * unit(classes, c) / roots[c]
            zeros += require_zero(
                M.T * t - (unit(classes, 0) - unit(classes, c)), "Mᵀt − (e_y − e_c)"
            )
    rng, entries = random.Random(6), 0
    for parameters in (3, 5, 8):
        jacobians = [random_matrix(rng, 3, parameters) for _ in ROOTS]
        p = [tuple(fmpq(r * r, 9) for r in roots) for roots in ROOTS]
        pool = Pool(tuple(jacobians), tuple(p), (0, 1, 2))
        A = stacked([textbook(roots, J) for roots, J in zip(ROOTS, jacobians, strict=True)])
        P, inverse = projector(A), pseudo_inverse(fisher(pool))
        for i, (roots, J) in enumerate(zip(ROOTS, jacobians, strict=True)):
            for c in (c for c in range(3) if c != i):
                a = row(J, i) - row(J, c)
                t = [fmpq(0)] * (3 * len(pool))
                t[3 * i + i], t[3 * i + c] = fmpq(3, roots[i]), -sign * fmpq(3, roots[c])
                scale = len(pool) if count_samples else 1
                t_row = rational([t])
                require(form(a, inverse, a) == scale * form(t_row, P, t_row), "a F⁺ aᵀ = N tᵀPt")
                entries += 1
    return f"C = 2, 3, 4: {zeros} entries 0; {entries} pairs in rational pools, m = 3, 5, 8"


def textbook(roots: Sequence[int], jacobian: fmpq_mat) -> fmpq_mat:
    """M J with √p = roots/3: rows √p_c (J_c − Σ_k p_k J_k)."""
    mean = rational([[fmpq(r * r, 9) for r in roots]]) * jacobian
    return stacked([fmpq(r, 3) * (row(jacobian, c) - mean) for c, r in enumerate(roots)])


MULTICLASS = Claim(
    name="margin-of-many-classes",
    source="Appendix E",
    statement=(
        "a_c = ∂(f_y − f_c)/∂θ lies in range F, and a_c F⁺ a_cᵀ = N t_cᵀ P_ii t_c with t_c = "
        "e_y/√p_y − e_c/√p_c, P the projector onto range A"
    ),
    status="proved",
    means="symbolic identity",
    argument=(
        "Mᵀ = (I − p1ᵀ) diag(√p), so Mᵀe_c/√p_c = e_c − p and Mᵀt_c = e_y − e_c. Hence a_c = (e_y "
        "− e_c)ᵀJ = t_cᵀ M J, a combination t̃ᵀA of rows of A (t̃ is t_c in the place of sample "
        "i): it lies in the row space of A, which is range F. With F = AᵀA/N, a_cF⁺a_cᵀ = N "
        "t̃ᵀA(AᵀA)⁺Aᵀt̃ = N t̃ᵀPt̃. So for every boundary f_y = f_c, Σ_k 1/(ε_k²λ_k) = "
        "a_cF⁺a_cᵀ/(f_y − f_c)² by margin-sum-to-first-order. The check expands Mᵀt_c, and "
        "compares both sides where √p, and so A and P, are rational: rank deficient and full."
    ),
    check=check_multiclass,
    mutations={
        "N left out": {"count_samples": False},
        "plus in t_c": {"sign": -1},
    },
)


def check_bound(power: int = 1) -> str:
    """Lagrange's identity for the slack in symbols, then both sides in rational pools."""
    zeros = 0
    for classes in CLASSES:
        weights = sympy.symbols(f"p1:{classes}", positive=True)
        slopes = sympy.symbols(f"a1:{classes}", real=True)
        pairs = [(c, d) for d in range(classes - 1) for c in range(d)]
        squares = sum(w * a**2 for w, a in zip(weights, slopes, strict=True))
        mean = sum(w * a for w, a in zip(weights, slopes, strict=True))
        slack = sum(weights) ** power * squares - mean**2
        lagrange = sum(weights[c] * weights[d] * (slopes[c] - slopes[d]) ** 2 for c, d in pairs)
        zeros += require_zero([slack - lagrange], "slack − Σ p_c p_d (a_c − a_d)²")
    compared = 0
    for pool in random_pools(4, seed=7):
        inverse = pseudo_inverse(fisher(pool))
        quantities = zip(
            gradients(pool), pool.jacobians, pool.probabilities, pool.labels, strict=True
        )
        for g, J, p, y in quantities:
            others = [c for c in range(len(p)) if c != y]
            a = {c: row(J, y) - row(J, c) for c in others}
            mixture = sum((p[c] * form(a[c], inverse, a[c]) for c in others), fmpq(0))
            require(form(g, inverse, g) <= (1 - p[y]) ** power * mixture, "g F⁺ gᵀ ≤ the bound")
            compared += 1
    return f"C = 2, 3, 4: {zeros} polynomials, all 0; {compared} samples in rational pools"


BOUND = Claim(
    name="sharpness-below-margin-slopes",
    source="Appendix E",
    statement="g_i F⁺ g_iᵀ ≤ (1 − p_y) Σ_{c≠y} p_c a_c F⁺ a_cᵀ, with equality for C = 2",
    status="proved",
    means="symbolic identity",
    argument=(
        "g = (p − e_y)ᵀJ = −Σ_{c≠y} p_c (J_y − J_c) = −Σ_{c≠y} p_c a_c. For any semi-inner product "
        "and weights ≥ 0, (Σ p_c)(Σ p_c ⟨a_c, a_c⟩) − ⟨Σ p_c a_c, Σ p_c a_c⟩ = Σ_{c<d} p_c p_d "
        "⟨a_c − a_d, a_c − a_d⟩ ≥ 0 (Lagrange); here Σ_{c≠y} p_c = 1 − p_y. The sum is empty for "
        "two classes. The check expands the identity in one direction, which is enough as ⟨·,·⟩ is "
        "a sum over directions with weights ≥ 0, and compares in exact pools."
    ),
    check=check_bound,
    mutations={"(1 − p_y) squared": {"power": 2}, "(1 − p_y) left out": {"power": 0}},
)

CLAIMS = (SUM, MULTICLASS, BOUND)
