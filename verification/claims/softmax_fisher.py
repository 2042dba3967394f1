"""Equations (2) to (5): the Fisher metric of softmax, the KL divergence, the factors of Λ."""

import math

import sympy
from flint import fmpq
from sympy.polys.rings import PolyElement, ring

from verification.claims.claim import Claim, require
from verification.claims.exact_geometry import softmax_metric
from verification.claims.normal_form import CASES, CLASSES, column, require_zero, simplex, unit


def metric(p: list[sympy.Expr]) -> sympy.Matrix:
    """Λ = diag(p) − p pᵀ."""
    return sympy.diag(*p) - column(p) * column(p).T


# The Fisher metric in output space.


def check_metric(label_sign: int = 1, uniform_labels: bool = False) -> str:
    """∂l/∂f by differentiation, then its second moment under y ∼ p, against Λ."""
    zeros = 0
    for classes in CLASSES:
        logits = sympy.symbols(f"f:{classes}", real=True)
        exponentials = sympy.symbols(f"e:{classes}", positive=True)
        values = {sympy.exp(f): e for f, e in zip(logits, exponentials, strict=True)}
        p = [e / sum(exponentials) for e in exponentials]
        moment = sympy.zeros(classes)
        for label in range(classes):
            loss = sympy.log(sum(map(sympy.exp, logits))) - logits[label]
            gradient = column(sympy.diff(loss, f).subs(values) for f in logits)
            formula = column(p) - label_sign * unit(classes, label)
            zeros += require_zero(gradient - formula, "∂l/∂f − (p − e_y)")
            weight = sympy.Rational(1, classes) if uniform_labels else p[label]
            moment += weight * formula * formula.T
        zeros += require_zero(moment - metric(p), "E[(p − e_y)(p − e_y)ᵀ] − Λ")
    return f"{CASES}: {zeros} entries, all 0"


METRIC = Claim(
    name="softmax-fisher-metric",
    source="(2)",
    statement="E_{y∼p}[(∂l/∂f)ᵀ (∂l/∂f)] = Λ = diag(p) − p pᵀ, hence F = (1/N) Σ J_iᵀ Λ_i J_i",
    status="proved",
    means="symbolic identity",
    argument=(
        "With l = log Σ_k exp f_k − f_y one has ∂l/∂f = (p − e_y)ᵀ. Under y ∼ p, E[e_y] = p and "
        "E[e_y e_yᵀ] = diag(p), so E[(p − e_y)(p − e_y)ᵀ] = ppᵀ − ppᵀ − ppᵀ + diag(p) = Λ, for "
        "every C. By the chain rule g = (p − e_y)ᵀ J, and E[gᵀg] = Jᵀ Λ J at each input; F is the "
        "mean of that over the N inputs. The check differentiates l and sums over the labels, with "
        "exponentials as free positive symbols."
    ),
    check=check_metric,
    mutations={
        "label with the other sign": {"label_sign": -1},
        "labels uniform instead of from p": {"uniform_labels": True},
    },
)


# Its rank.


def check_rank(outer_product: int = 1, supported: bool = True) -> str:
    """Λ1 = 0, the sum of squares, the leading minor, and exact ranks by the support of p."""
    zeros = 0
    for classes in CLASSES:
        p = simplex(classes)
        x = sympy.symbols(f"x:{classes}", real=True)
        form = sympy.diag(*p) - outer_product * column(p) * column(p).T
        pairs = [(c, k) for k in range(classes) for c in range(k)]
        squares = sum(p[c] * p[k] * (x[c] - x[k]) ** 2 for c, k in pairs)
        minor = form[:-1, :-1].det(method="berkowitz")
        zeros += require_zero(form * sympy.ones(classes, 1), "Λ 1")
        zeros += require_zero(column(x).T * form * column(x) - column([squares]), "xᵀΛx − squares")
        zeros += require_zero([minor - sympy.prod(p)], "det Λ' − Π p_c")
    ranks = 0
    for classes in (2, 3, 4, 5):
        for support in range(1, classes + 1):
            weights = [fmpq(1, support)] * support + [0] * (classes - support)
            expected = support - 1 if supported else classes - 1
            require(softmax_metric(weights).rank() == expected, "rank Λ = support − 1")
            ranks += 1
    return f"{CASES}: {zeros} entries, all 0; {ranks} exact ranks"


RANK = Claim(
    name="softmax-fisher-rank",
    source="(2)",
    statement="For p > 0, rank Λ = C − 1 and the null space of Λ is spanned by 1",
    status="proved",
    means="symbolic identity",
    argument=(
        "xᵀΛx is the variance of x under p, that is Σ_{c<k} p_c p_k (x_c − x_k)². Where all p_c > "
        "0 it vanishes only if all x_c are equal: the null space is the line of 1, and the rank C "
        "− 1. Likewise the minor without the last class is Π_c p_c > 0. If some p_c are 0, the "
        "same sum runs over the support, and the rank is |support| − 1: p > 0 is needed. The check "
        "expands the sum of squares and the minor with p_{C−1} = 1 − Σ p_c, and counts ranks of "
        "exact matrices for every size of the support up to C = 5."
    ),
    check=check_rank,
    mutations={
        "p pᵀ left out": {"outer_product": 0},
        "p > 0 dropped": {"supported": False},
    },
)


# The KL divergence along a curve of logits.

Series = list[PolyElement]


def _product(left: Series, right: Series) -> Series:
    """The product of two power series in t, cut after as many terms as they have."""
    return [sum(left[k] * right[n - k] for k in range(n + 1)) for n in range(len(left))]


def _one(series: Series) -> Series:
    field = series[-1].ring
    return [field.one] + [field.zero] * (len(series) - 1)


def _exponential(exponent: Series) -> Series:
    """exp of a series without constant term: Σ_k x^k / k!."""
    total = power = _one(exponent)
    for k in range(1, len(exponent)):
        power = _product(power, exponent)
        total = [a + b / math.factorial(k) for a, b in zip(total, power, strict=True)]
    return total


def _logarithm(series: Series) -> Series:
    """Log of a series with constant term 1: −Σ_k (1 − x)^k / k."""
    power = _one(series)
    step = [a - b for a, b in zip(power, series, strict=True)]
    total = [0 * a for a in power]
    for k in range(1, len(series)):
        power = _product(power, step)
        total = [a - b / k for a, b in zip(total, power, strict=True)]
    return total


def divergences(p: Series, moved: list[Series]) -> tuple[Series, Series]:
    """KL(p_t ‖ p) and KL(p ‖ p_t) as series in t, p_t = softmax(f + moved(t))."""
    weights = [_exponential(series) for series in moved]
    terms = range(len(moved[0]))
    total = [sum(q * w[n] for q, w in zip(p, weights, strict=True)) for n in terms]
    log_total = _logarithm(total)
    log_ratio = [[a - b for a, b in zip(series, log_total, strict=True)] for series in moved]
    tilted = [_product(_exponential(ratio), ratio) for ratio in log_ratio]
    forward = [sum(q * s[n] for q, s in zip(p, tilted, strict=True)) for n in terms]
    backward = [-sum(q * s[n] for q, s in zip(p, log_ratio, strict=True)) for n in terms]
    return forward, backward


def _curve(classes: int) -> tuple[Series, Series, Series]:
    """p in the simplex, d and a as polynomials over the rationals."""
    names = [f"{letter}{c}" for letter in "pda" for c in range(classes)]
    variables = ring(names, sympy.QQ)[1:]
    free = list(variables[: classes - 1])
    p = [*free, 1 - sum(free)]
    return p, list(variables[classes : 2 * classes]), list(variables[2 * classes :])


def check_divergence(
    quadratic_over: int = 2, cubic_over: tuple[int, int] = (3, 6), curvature: int = 1
) -> str:
    """Series of both divergences to third order along f + t d + t² a/2."""
    zeros = 0
    for classes in CLASSES:
        p, d, a = _curve(classes)
        moved = [[0 * d_c, d_c, a_c / 2, 0 * d_c] for d_c, a_c in zip(d, a, strict=True)]
        mean = sum(q * d_c for q, d_c in zip(p, d, strict=True))
        centred = [d_c - mean for d_c in d]
        metric_d = [q * d_c for q, d_c in zip(p, centred, strict=True)]
        quadratic = sum(d_c * b for d_c, b in zip(d, metric_d, strict=True)) / quadratic_over
        bending = sum(a_c * b for a_c, b in zip(a, metric_d, strict=True)) / 2
        cumulant = sum(q * d_c**3 for q, d_c in zip(p, centred, strict=True))
        for series, over in zip(divergences(p, moved), cubic_over, strict=True):
            expected = [0, 0, quadratic, cumulant / over + curvature * bending]
            for n, (term, value) in enumerate(zip(series, expected, strict=True)):
                require(term - value == 0, f"the coefficient of t^{n} is as stated")
                zeros += 1
    return f"{CASES}: {zeros} coefficients of 1, t, t², t³, all as stated"


DIVERGENCE = Claim(
    name="kl-second-order",
    source="(3)",
    statement=("KL(θ + tδ ‖ θ) = ½t² δᵀFδ + t³ (κ₃/3 + ½ aᵀΛd) + O(t⁴); κ₃/6 for KL(θ ‖ θ + tδ)"),
    status="proved",
    means="symbolic identity",
    argument=(
        "At one input let f move to f + td + t²a/2 + O(t³), d = Jδ and a = D²f[δ, δ]. For a "
        "straight line p_t ∝ p exp(td) is an exponential family with cumulant function K(t) = log "
        "E_p exp(td) = Σ κ_n tⁿ/n!, and KL(p_t ‖ p) = tK' − K = Σ (n − 1) κ_n tⁿ/n!, KL(p ‖ p_t) = "
        "K − tK'(0) = Σ_{n≥2} κ_n tⁿ/n!. Both begin with ½κ₂t², κ₂ = dᵀΛd, so they agree to second "
        "order; the cubic terms are κ₃/3 and κ₃/6, κ₃ = E_p(d − E_p d)³. Bending puts td + t²a/2 "
        "for td in ½κ₂t², which adds ½ t³ aᵀΛd to both. The mean over the inputs gives δᵀFδ with F "
        "of (2). So (3) holds with an error of third order, and of fourth only where these "
        "coefficients vanish (C = 2, p = (½, ½) and f linear in θ). The check expands both "
        "divergences as power series in t for free p, d and a."
    ),
    check=check_divergence,
    mutations={
        "1 in the place of ½": {"quadratic_over": 1},
        "the directions exchanged": {"cubic_over": (6, 3)},
        "the bending of f left out": {"curvature": 0},
    },
)


# The textbook factor.


def check_factor(transposed: bool = False, halves: int = 1) -> str:
    """MᵀM − Λ, √pᵀM and the rows of MJ, with √p as free symbols of length 1."""
    zeros = 0
    for classes in CLASSES:
        p = simplex(classes)
        roots = sympy.symbols(f"r:{classes}", positive=True)
        squares = {r**2: q for r, q in zip(roots, p, strict=True)}
        mean = sympy.ones(classes, 1) * column(p).T
        mean = mean.T if transposed else mean
        factor = sympy.diag(*(r**halves for r in roots)) * (sympy.eye(classes) - mean)
        product = (factor.T * factor).expand().subs(squares)
        zeros += require_zero(product - metric(p), "MᵀM − Λ")
        null = (column(roots).T * factor).expand().subs(squares)
        zeros += require_zero(null, "√pᵀ M")
        jacobian = column(sympy.symbols(f"j:{classes}"))
        centre = (column(p).T * jacobian)[0]
        rows = column(r * (j - centre) for r, j in zip(roots, jacobian, strict=True))
        zeros += require_zero(factor * jacobian - rows, "rows of MJ")
    return f"{CASES}: {zeros} entries, all 0"


FACTOR = Claim(
    name="softmax-factor",
    source="(4), (5)",
    statement="M = diag(√p)(I − 1pᵀ): MᵀM = Λ, √pᵀM = 0, rows √p_c (J_c − Σ_k p_k J_k); F = AᵀA/N",
    status="proved",
    means="symbolic identity",
    argument=(
        "MᵀM = (I − p1ᵀ) diag(p) (I − 1pᵀ) = diag(p) − ppᵀ − ppᵀ + ppᵀ = Λ since 1ᵀdiag(p) = pᵀ "
        "and 1ᵀp = 1. In the same way √pᵀM = pᵀ − (Σp) pᵀ = 0: the C rows of M have one left null "
        "vector, √p, of length 1. Row c of MJ is √p_c (J_c − Σ_k p_k J_k). Stacking gives AᵀA = "
        "Σ_i J_iᵀ M_iᵀ M_i J_i = N F. The check expands the products with r_c = √p_c as symbols "
        "and r_c² = p_c, Σ p_c = 1 substituted."
    ),
    check=check_factor,
    mutations={
        "p1ᵀ in the place of 1pᵀ": {"transposed": True},
        "p in the place of √p": {"halves": 2},
    },
)


# The reduced factor.


def cholesky_factor(classes: int, *, sign: int = -1, shift: int = 0) -> tuple[list, sympy.Matrix]:
    """p and L as functions of the tails t_0 > … > t_{C−2} = p_ref > 0, with s_k = √p_k, τ = √t.

    L_kk = s_k τ_k/τ_{k−1}, L_jk = −p_j s_k/(τ_k τ_{k−1}); the s_k stay symbols.
    """
    size = classes - 1
    roots = sympy.symbols(f"s:{size}", positive=True)
    tails = [sympy.Integer(1), *sympy.symbols(f"tau:{size}", positive=True)]
    p = [tails[k] ** 2 - tails[k + 1] ** 2 for k in range(size)]
    factor = sympy.zeros(size)
    for k in range(size):
        before, after = tails[k], tails[k + 1]
        factor[k, k] = roots[k] * (after / before) ** (1 - 2 * shift)
        for j in range(k + 1, size):
            factor[j, k] = sign * p[j] * roots[k] / (before * after)
    return [*p, tails[-1] ** 2], factor


def check_reduced(sign: int = -1, shift: int = 0, reference: int = 1) -> str:
    """LLᵀ − Λ', EᵀΛ'E − Λ and the whitened residual, for every label."""
    zeros = 0
    for classes in CLASSES:
        size = classes - 1
        p, factor = cholesky_factor(classes, sign=sign, shift=shift)
        roots = sympy.symbols(f"s:{size}", positive=True)
        squares = {r: sympy.sqrt(q) for r, q in zip(roots, p[:-1], strict=True)}
        product = (factor * factor.T).subs(squares)
        reduced = metric(p)[:-1, :-1]
        zeros += require_zero(product - reduced, "LLᵀ − Λ'")
        differences = sympy.eye(size).row_join(-reference * sympy.ones(size, 1))
        zeros += require_zero(differences.T * reduced * differences - metric(p), "EᵀΛ'E − Λ")
        inverse = sympy.diag(*(1 / q for q in p[:-1])) + sympy.ones(size) / p[-1]
        zeros += require_zero(inverse * reduced - sympy.eye(size), "Λ'⁻¹ Λ' − I")
        for label in range(classes):
            short = column(p[:-1]) - column(unit(classes, label)[:-1])
            full = column(p) - unit(classes, label)
            zeros += require_zero(differences.T * short - full, "Eᵀ(p' − e') − (p − e_y)")
            length = (short.T * inverse * short)[0]
            zeros += require_zero([length - (1 - p[label]) / p[label]], "‖v‖² − (1 − p_y)/p_y")
    return f"{CASES}: {zeros} entries, all 0"


REDUCED = Claim(
    name="reduced-factor-cholesky",
    source="beyond the paper",
    statement=(
        "L_kk = √(p_k t_k/t_{k−1}), L_jk = −p_j √(p_k/(t_k t_{k−1})): LLᵀ = diag(p') − p'p'ᵀ; "
        "‖L⁻¹(p' − e')‖² = (1 − p_y)/p_y"
    ),
    status="proved",
    means="symbolic identity",
    argument=(
        "Let p' be p without the class ref, t_k = p_ref + Σ_{j>k} p_j, t_{−1} = 1, so that t_{k−1} "
        "− t_k = p_k and p_k/(t_k t_{k−1}) = 1/t_k − 1/t_{k−1}. For j > i the entry of LLᵀ is p_j "
        "p_i Σ_{k<i} (1/t_k − 1/t_{k−1}) − p_j p_i/t_{i−1} = p_j p_i (1/t_{i−1} − 1 − 1/t_{i−1}) = "
        "−p_j p_i, and on the diagonal p_i²(1/t_{i−1} − 1) + p_i t_i/t_{i−1} = p_i (p_i + "
        "t_i)/t_{i−1} − p_i² = p_i − p_i². The tails are sums of positive numbers: nothing "
        "cancels. With E = [I, −1], EJ the class differences D, one has Λ = EᵀΛ'E and p − e_y = "
        "Eᵀ(p' − e'), so that LᵀD gives the same F and the same g; and Λ'⁻¹ = diag(1/p') + "
        "11ᵀ/p_ref gives the length of v = L⁻¹(p' − e') for every label, ref included. The check "
        "takes the roots of the tails as free symbols."
    ),
    check=check_reduced,
    mutations={
        "off-diagonal entries positive": {"sign": 1},
        "t_k and t_{k−1} exchanged": {"shift": 1},
        "classes summed instead of subtracted": {"reference": -1},
    },
)

CLAIMS: tuple[Claim, ...] = (METRIC, RANK, DIVERGENCE, FACTOR, REDUCED)
