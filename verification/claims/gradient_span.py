"""Appendix B: the gradient of a sample lies in the span of F as long as p_y > 0."""

import sympy
from flint import fmpq

from verification.claims.claim import Claim, listed, require
from verification.claims.exact_geometry import (
    Pool,
    counted,
    fisher,
    form,
    gradients,
    igs,
    in_row_space,
    pseudo_inverse,
    random_pools,
    rational,
    require_on_pools,
)
from verification.claims.normal_form import CASES, CLASSES, column, require_zero, simplex, unit

HALVINGS = (1, 10, 100, 1000)


# The gradient is a row of the factor.


def check_span(sign: int = -1, power: int = 1, other_sample: bool = False) -> str:
    """√p_y times g = −(row y of MJ) symbolically; g F⁺F = g in exact pools with singular F."""
    zeros = 0
    for classes in CLASSES:
        p = simplex(classes)
        for label in range(classes):
            # Row y of M is √p_y (e_y − p)ᵀ; dividing it by √p_y^power leaves √p_y^(1 − power).
            row_over_root = p[label] ** sympy.Rational(1 - power, 2) * (
                unit(classes, label) - column(p)
            )
            gradient = column(p) - unit(classes, label)
            zeros += require_zero(gradient - sign * row_over_root, "p − e_y + Mᵀe_y/√p_y")
    pools = random_pools(20)
    foreign = random_pools(1, seed=1)[0]

    def spanned(pool: Pool) -> bool:
        matrix = fisher(pool)
        projector = pseudo_inverse(matrix) * matrix
        rows = gradients(foreign if other_sample else pool)
        return all(g * projector == g for g in rows)

    require_on_pools(pools, spanned, "g_i F⁺F = g_i")
    return f"{CASES}: {zeros} entries, all 0; {counted(pools)} with singular F"


SPAN = Claim(
    name="gradient-in-span",
    source="Appendix B",
    statement="For p_{i,y_i} > 0: g_i = −(row y_i of M_i J_i)/√p_{i,y_i}, so g_i ∈ span of F",
    status="proved",
    means="symbolic identity",
    argument=(
        "Row y of M = diag(√p)(I − 1pᵀ) is √p_y (e_y − p)ᵀ, so (p − e_y)ᵀ = −(row y of M)/√p_y, "
        "and times J_i: g_i is −1/√p_y times a row of A. The row space of A is the range of AᵀA = "
        "N F, hence g_i F⁺F = g_i. It is enough that p_y > 0 for the sample's own label, and that "
        "the sample is one of those of which F is made. The check compares rows for every label, "
        "and projects gradients onto the range of exact singular F."
    ),
    check=check_span,
    mutations={
        "the sign dropped": {"sign": 1},
        "p_y in the place of √p_y": {"power": 2},
        "gradients of samples that F does not have": {"other_sample": True},
    },
)


# Towards p_y = 0.


def near_zero_pool(epsilon: fmpq, direction: list[int]) -> Pool:
    """N = 1, C = 3, one parameter: p = ((1 − ε)/2, (1 − ε)/2, ε), label 3."""
    p = ((1 - epsilon) / 2, (1 - epsilon) / 2, epsilon)
    return Pool((rational([[entry] for entry in direction]),), (p,), (2,))


def check_limit(rate: int = 1, bounded: tuple[int, int, int] = (1, -1, 2)) -> str:
    """The term along ε = 2^−k where g leaves the span at ε = 0, and where it does not."""
    leaves, stays = [0, 0, 1], list(bounded)
    square = fmpq(stays[2] ** 2)
    for exponent in HALVINGS:
        epsilon = fmpq(1, 2**exponent)
        term = igs(near_zero_pool(epsilon, leaves))
        require(term * epsilon**rate == 1 - epsilon, "p_y times the term is 1 − p_y")
        kept = igs(near_zero_pool(epsilon, stays))
        require(kept == square * (1 - epsilon) / (1 + square * epsilon), "the bounded term")
    at_zero = [near_zero_pool(fmpq(0), direction) for direction in (leaves, stays)]
    inside = [in_row_space(gradients(pool)[0], fisher(pool)) for pool in at_zero]
    require(inside == [False, True], "g leaves the span at p_y = 0 in the first pool only")
    return (
        f"p_y = 2^−k, k = {listed(HALVINGS)}: terms (1 − p_y)/p_y, and bounded by {square} "
        "beside it"
    )


LIMIT = Claim(
    name="gradient-span-limit",
    source="Appendix B",
    statement=(
        "As p_y → 0 the coefficient 1/√p_y diverges; g F⁺gᵀ ≤ N(1 − p_y)/p_y, and it diverges "
        "wherever the limit of g is outside the span of the limit of F"
    ),
    status="proved",
    means="exact rational computation",
    argument=(
        "For g in the span, g F⁺gᵀ = sup_δ (gδ)²/(δᵀFδ). If the limits g₀, F₀ have g₀ outside the "
        "span of F₀, there is a δ with F₀δ = 0 and g₀δ ≠ 0; for that δ the ratio, a lower bound, "
        "grows without limit. Never faster than 1/p_y: N F ≥ J_iᵀΛ_iJ_i gives g F⁺gᵀ ≤ N (1 − "
        "p_y)/p_y. The leverage h = p_y·(gF⁺gᵀ)/N itself stays in [0, 1 − p_y]. Divergence needs "
        "the condition. With N = 1, C = 3, m = 1, p = ((1−ε)/2, (1−ε)/2, ε) and y = 3: J = (0, 0, "
        "1)ᵀ has F = ε(1−ε), g = ε − 1, term (1−ε)/ε, the bound itself; J = (1, −1, c)ᵀ has F → 1, "
        "g → −c, term c²(1−ε)/(1+c²ε) → c². The check evaluates both exactly along ε = 2^−k, for c "
        "= 2, and decides the span at ε = 0."
    ),
    check=check_limit,
    mutations={
        "rate 1/p_y²": {"rate": 2},
        "both directions leave the span": {"bounded": (0, 0, 2)},
    },
)


# At p_y = 0.


def zero_probability_pool(true: fmpq) -> Pool:
    """N = 1, C = 2, one parameter: p = (1 − p_y, p_y), J = (1, 0)ᵀ, the label is class 2."""
    return Pool((rational([[1], [0]]),), ((1 - true, true),), (1,))


def check_zero(quarters: int = 0) -> str:
    """The gradient outside the span, and the form there beside its limit."""
    pool = zero_probability_pool(fmpq(quarters, 4))
    matrix, gradient = fisher(pool), gradients(pool)[0]
    require(not in_row_space(gradient, matrix), "g is outside the span of F")
    value = form(gradient, pseudo_inverse(matrix), gradient)
    for exponent in HALVINGS:
        nearby = igs(zero_probability_pool(fmpq(1, 2**exponent)))
        require(nearby == 2**exponent - 1, "the form is (1 − p_y)/p_y nearby")
        require(nearby - value >= 2**exponent - 1, "the form is not continuous at p_y = 0")
    return f"F = {matrix[0, 0]}, g = {gradient[0, 0]}, form {value}; 2^k − 1 at p_y = 2^−k"


ZERO = Claim(
    name="gradient-span-at-zero-probability",
    source="Appendix B",
    statement="The gradient lies in the span of F for every p, p_y = 0 included",
    status="refuted",
    means="exact rational computation",
    argument=(
        "p_y > 0 cannot be dropped: at p_y = 0 row y of M is zero and no multiple of it is p − "
        "e_y. Then e_y is a null vector of Λ, and J can carry it. Softmax never gives p_y = 0 over "
        "the reals, but a softmax that underflows does, and then F⁺ silently ignores the part of g "
        "outside: the form falls to 0 where its limit is +∞. So p is to be kept in logarithms or "
        "as differences of logits. One class has Λ = 0 and g = 0, and no parameter no gradient: N "
        "= 1, C = 2, m = 1 is the smallest case."
    ),
    check=check_zero,
    mutations={
        "p_y = 1/4": {"quarters": 1},
        "p_y = 1": {"quarters": 4},
    },
    counterexample=(
        "N = 1, C = 2, m = 1, p = (1, 0), y = 2, J = (1, 0)ᵀ: F = 0 and g = 1, so g F⁺gᵀ = 0, "
        "while it is 2^k − 1 at p_y = 2^−k."
    ),
)

CLAIMS: tuple[Claim, ...] = (SPAN, LIMIT, ZERO)
