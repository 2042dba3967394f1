"""What the sum (11) of a margin means: invariance, exact crossings, and its tie to sharpness."""

import random
from collections.abc import Sequence

import sympy
from flint import arb, ctx, fmpq, fmpq_mat
from sympy import Rational

from verification.claims.claim import Claim, require
from verification.claims.exact_geometry import (
    Pool,
    diagonal,
    fisher,
    form,
    gradients,
    in_row_space,
    pseudo_inverse,
    random_invertible,
    random_matrix,
    random_pool,
    random_simplex,
    rational,
    row,
)
from verification.claims.normal_form import column, require_zero

CLASSES = (2, 3, 4)
LOG_BITS = 200
CONFIDENT = fmpq(9, 10)

# What is invariant.


def check_distance(inside: bool = True, transformed: bool = True) -> str:
    """δᵀFδ − M²/(aF⁺aᵀ) as a square on the constraint; then both under random θ = Tη."""
    rng, zeros, gap = random.Random(8), 0, Rational(3, 2)
    for parameters in (3, 4):
        pool = random_pool(rng, samples=1, parameters=parameters, rank=2)
        F = fisher(pool)
        a = row(pool.jacobians[0], 0) - row(pool.jacobians[0], 1)
        if not inside:
            a = next(e for e in map(rational, unit_rows(parameters)) if not in_row_space(e, F))
        slope = form(a, pseudo_inverse(F), a)
        T = random_invertible(rng, parameters)
        moved = T.transpose() * F * T if transformed else F
        require(form(a * T, pseudo_inverse(moved), a * T) == slope, "aF⁺aᵀ in other parameters")
        zeros += require_zero([square_on_constraint(F, a, gap)], "δᵀFδ − M²/(aF⁺aᵀ) − square")
    return f"F singular, m = 3, 4: {zeros} polynomials in δ, all 0; the same after θ = Tη"


def unit_rows(size: int) -> list[list[list[int]]]:
    return [[[int(i == j) for j in range(size)]] for i in range(size)]


def symbolic(matrix: fmpq_mat) -> sympy.Matrix:
    return sympy.Matrix(
        [[Rational(int(entry.p), int(entry.q)) for entry in line] for line in matrix.tolist()]
    )


def square_on_constraint(F: fmpq_mat, a: fmpq_mat, gap: Rational) -> sympy.Expr:
    """δᵀFδ − M²/(aF⁺aᵀ) − (δ − δ*)ᵀF(δ − δ*) where M + aδ = 0, one entry of δ eliminated."""
    metric, covector, inverse = symbolic(F), symbolic(a), symbolic(pseudo_inverse(F))
    delta = column(sympy.symbols(f"d:{F.nrows()}", real=True))
    slope = (covector * inverse * covector.T)[0, 0]
    best = -gap * inverse * covector.T / slope
    difference = delta - best
    excess = (delta.T * metric * delta - difference.T * metric * difference)[0, 0] - gap**2 / slope
    pivot = next(j for j in range(F.nrows()) if covector[j] != 0)
    on_boundary = sympy.solve((covector * delta)[0, 0] + gap, delta[pivot])[0]
    return excess.subs(delta[pivot], on_boundary)


DISTANCE = Claim(
    name="margin-is-a-distance-in-f",
    source="Appendix E",
    statement=(
        "min{δᵀFδ : M + a·δ = 0} = M²/(aF⁺aᵀ) for a in range F: 1/Σ_k 1/(ε_k²λ_k) is the squared "
        "F-length of the shortest step to the boundary, invariant under θ = Tη"
    ),
    status="proved",
    means="symbolic identity",
    argument=(
        "Let δ* = −M F⁺aᵀ/(aF⁺aᵀ). It is feasible, and Fδ* = −M aᵀ/(aF⁺aᵀ) since FF⁺aᵀ = aᵀ. For "
        "feasible δ, δ*ᵀFδ = −M a·δ/(aF⁺aᵀ) = M²/(aF⁺aᵀ), hence δᵀFδ = M²/(aF⁺aᵀ) + (δ − δ*)ᵀF(δ − "
        "δ*) ≥ M²/(aF⁺aᵀ). For a outside of range F the minimum is 0: a step along the null space "
        "reaches the boundary. Under θ = Tη, F becomes TᵀFT and a becomes aT; with δ = Tη the "
        "problem is the same one. The check expands the identity in δ with the constraint "
        "eliminated, F singular, and compares aF⁺aᵀ in other parameters."
    ),
    check=check_distance,
    mutations={
        "a outside of range F": {"inside": False},
        "a transformed and F not": {"transformed": False},
    },
)


def check_not_invariant(rotated: bool = True, total_too: bool = True) -> str:
    """F = diag(1, 4) and T = F^{−½} R D, R a rational rotation, so that TᵀFT = D²."""
    gap, g = fmpq(1), rational([[1, 3]])
    F, D = diagonal([1, 4]), diagonal([3, 5])
    rotation = rational([[fmpq(3, 5), fmpq(-4, 5)], [fmpq(4, 5), fmpq(3, 5)]])
    T = diagonal([1, fmpq(1, 2)]) * rotation * D if rotated else diagonal([1, 1])
    moved, h = T.transpose() * F * T, g * (T if total_too else diagonal([1, 2]) * T)
    require(moved[0, 1] == 0, "eigenvectors along the axes")
    before = sorted((F[k, k], gap / g[0, k]) for k in range(2))
    after = sorted((moved[k, k], gap / h[0, k]) for k in range(2))
    terms = [[1 / (step**2 * value) for value, step in each] for each in (before, after)]
    require(sum(terms[0], fmpq(0)) == sum(terms[1], fmpq(0)), "the sums agree")
    for k in range(2):
        require(
            all(before[k][0] != value for value, _ in after), f"λ_{k} is not among the new ones"
        )
        require(all(abs(before[k][1]) != abs(step) for _, step in after), f"nor is ε_{k}")
        require(terms[0][k] not in terms[1], f"nor is term {k}")
    shown = [" + ".join(map(str, each)) for each in terms]
    return f"{shown[0]} = {shown[1]} = {sum(terms[0], fmpq(0))}, no λ, ε or term in common"


NOT_INVARIANT = Claim(
    name="only-the-sum-is-invariant",
    source="(11)",
    statement="Σ_k 1/(ε_k²λ_k) is invariant under θ = Tη; no λ_k, no ε_k and no term of the sum is",
    status="proved",
    means="exact rational computation",
    argument=(
        "The sum is gF⁺gᵀ/M², and gT(TᵀFT)⁺Tᵀgᵀ = gF⁺gᵀ for g in range F and T invertible. λ_k and "
        "u_k are those of the Euclidean inner product of the parameters, which T does not keep: "
        "one example in which all of them change settles the rest, in two dimensions and so, with "
        "further parameters beside it, in any. So pictures and partial sums over leading "
        "eigenvectors are properties of the parametrisation. The check has eigenvectors along axes "
        "before and after, in rationals."
    ),
    check=check_not_invariant,
    mutations={
        "T the identity": {"rotated": False},
        "g transformed otherwise than F": {"total_too": False},
    },
)

# Exact crossings.


def check_exact_crossings(product: int = 1, bijective: bool = True) -> str:
    """f = uv at (2, 1) along its gradient (1, 2), and f = θ at 1 against f = e^η at 0."""
    tau, eta = sympy.Symbol("tau", real=True), sympy.Symbol("eta", real=True)
    along = 2 + 5 * tau + 2 * product * tau**2
    if product == 1:
        require_zero([along - (2 + tau) * (1 + 2 * tau)], "uv at (2 + τ, 1 + 2τ)")
    first = -along.subs(tau, 0) / sympy.diff(along, tau).subs(tau, 0)
    exact = min(sympy.real_roots(sympy.Poly(along, tau)), key=abs)
    ratio = (first / exact) ** 2
    require(ratio == Rational(16, 25), "left over right side of (11) with the exact step")
    moved = sympy.exp(eta) if bijective else 1 + eta
    require(moved.subs(eta, 0) == sympy.diff(moved, eta).subs(eta, 0) == 1, "f and slope as in θ")
    require(sympy.solveset(moved, eta, sympy.S.Reals) == sympy.S.EmptySet, "e^η never reaches 0")
    return (
        f"f = uv: τ = {exact}, to first order {first}: left/right = {ratio}; f = e^η: ε = ∞, left 0"
    )


EXACT = Claim(
    name="margin-sum-with-exact-crossings",
    source="(11)",
    statement="(11) holds with ε_ik the exact step along u_k to the boundary, and is invariant",
    status="refuted",
    means="symbolic identity",
    argument=(
        "(11) is first order: its ε_k are those of the linearised network. With exact crossings "
        "the left side depends on the whole path, and where the boundary is never reached the term "
        "is 0, whatever g·u_k is. Both sides agree if the gap is affine in θ, as in logistic "
        "regression. The exact sum is no invariant either: straight lines in θ are not straight in "
        "other parameters. The check computes both by sympy for the smallest network there is."
    ),
    check=check_exact_crossings,
    mutations={
        "product term left out": {"product": 0},
        "the same parameter under another name": {"bijective": False},
    },
    counterexample=(
        "One linear hidden unit, gap f = uv at (u, v) = (2, 1): F has one eigenvector with λ > 0, "
        "along (1, 2), and f(2 + τ, 1 + 2τ) = 2 + 5τ + 2τ² is 0 first at τ = −1/2, to first order "
        "at τ = −2/5: the left side is 16/25 of the right. And one bias, f = θ at θ = 1, reaches 0 "
        "at ε = −1; with θ = e^η, at η = 0, F and g are the same, but e^η > 0: ε = ∞, the left "
        "side 0 instead of 1/λ."
    ),
)

# Smaller sharpness, larger margin.


def sharper_has_smaller_margin(chances: Sequence[fmpq]) -> bool:
    """Of two samples in one logistic regression, p = σ(θx), x = 5 and 1, labels 1."""
    inputs = (5, 1)
    F = sum((p * (1 - p) * x**2 for p, x in zip(chances, inputs, strict=True)), fmpq(0)) / 2
    s = [((1 - p) * x) ** 2 / F for p, x in zip(chances, inputs, strict=True)]
    require(s[0] > s[1], "the first sample is the sharper one")
    with ctx.workprec(LOG_BITS):
        squared = [arb(2 * p).log() ** 2 / arb(t) for p, t in zip(chances, s, strict=True)]
        require(squared[0] < squared[1] or squared[0] > squared[1], "margins told apart")
        return bool(squared[0] < squared[1])


def check_saturated_pools(power: int) -> int:
    """g F⁺ gᵀ and a_c F⁺ a_cᵀ of pools whose factor has full row rank N(C − 1)."""
    rng, samples, compared = random.Random(9), 2, 0
    for classes in CLASSES:
        pool = Pool(
            tuple(random_matrix(rng, classes, samples * (classes - 1) + 1) for _ in range(samples)),
            tuple(random_simplex(rng, classes) for _ in range(samples)),
            (0, 1),
        )
        F = fisher(pool)
        require(F.rank() == samples * (classes - 1), "saturated")
        inverse = pseudo_inverse(F)
        quantities = zip(
            gradients(pool), pool.jacobians, pool.probabilities, pool.labels, strict=True
        )
        for g, J, p, y in quantities:
            require(form(g, inverse, g) == samples * (1 - p[y]) / p[y] ** power, "N(1 − p)/p")
            for c in (c for c in range(classes) if c != y):
                a = row(J, y) - row(J, c)
                require(form(a, inverse, a) == samples * (1 / p[y] + 1 / p[c]), "N(1/p_y + 1/p_c)")
                compared += 1
    return compared


def check_smaller_sharpness(power: int = 1, correct: bool = True, second: fmpq = CONFIDENT) -> str:
    """At fixed loss, once saturated, and two samples of different loss that go against it."""
    M, s, loss = sympy.symbols("M s l", positive=True)
    slope = sympy.diff((M if correct else -M) / sympy.sqrt(s), s)
    require(slope.is_negative, "at fixed loss the distance falls with s")
    require(sharper_has_smaller_margin((CONFIDENT, second)), "equal losses: sharper, nearer")
    compared = check_saturated_pools(power)
    logarithm = 2 * sympy.log(sympy.log(2) - loss) - sympy.log(sympy.exp(loss) - 1)
    written = -2 / (sympy.log(2) - loss) - sympy.exp(loss) / (sympy.exp(loss) - 1)
    require_zero([sympy.diff(logarithm, loss) - written], "d/dl log of the squared margin")
    against = (CONFIDENT, fmpq(3, 5))
    require(not sharper_has_smaller_margin(against), "unequal losses: sharper, further away")
    return (
        f"C = 2, 3, 4: {compared} saturated pairs, gF⁺gᵀ = N(1 − p)/p exactly; of losses "
        f"−log {against[0]} and −log {against[1]} the sharper sample has the larger margin"
    )


SMALLER = Claim(
    name="smaller-sharpness-larger-margin",
    source="(11)",
    statement="The smaller g_i F⁺ g_iᵀ, the larger the margin (log 2 − l_i)/√(g_i F⁺ g_iᵀ)",
    status="proved with a correction",
    means="exact rational computation",
    argument=(
        "At a fixed loss l < log 2 the margin is a constant > 0 over √s and falls strictly with "
        "the sharpness s (on the wrong side, l > log 2, the signed margin rises). The correction: "
        "the loss has to be fixed, a sharper sample of smaller loss can be further from the "
        "boundary. And once saturated, P = I and gF⁺gᵀ = N(1 − p_y)/p_y = N expm1(l), a_cF⁺a_cᵀ = "
        "N(1/p_y + 1/p_c): then, for two classes, the squared margin is (log 2 − l)²/(N expm1(l)), "
        "whose logarithm has the derivative −2/(log 2 − l) − e^l/(e^l − 1) < 0: sharpness and "
        "margin are functions of the loss alone, and 'less sharp' says 'smaller loss' and nothing "
        "more. The check has the derivatives in symbols, saturated pools in rationals, and p = "
        "σ(θx) at x = 5, 1 with p = 9/10, 3/5 in balls: the first sample is sharper and further "
        "from the boundary."
    ),
    check=check_smaller_sharpness,
    mutations={
        "losses differ": {"second": fmpq(3, 5)},
        "classified wrongly": {"correct": False},
        "p squared at saturation": {"power": 2},
    },
)

CLAIMS = (DISTANCE, NOT_INVARIANT, EXACT, SMALLER)
