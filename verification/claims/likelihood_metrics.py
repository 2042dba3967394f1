"""Appendix F and beyond: any output metric Λ, square loss, one logit, and the common ceiling."""

import itertools
import random
from dataclasses import dataclass

import sympy
from flint import fmpq, fmpq_mat

from verification.claims.claim import Claim, listed, require
from verification.claims.exact_geometry import (
    form,
    pseudo_inverse,
    random_matrix,
    random_simplex,
    row,
    stacked,
    trace,
)
from verification.claims.normal_form import CASES, CLASSES, column, require_zero, simplex, unit


@dataclass(frozen=True)
class MetricPool:
    """N samples: J_i (C, m), a root K_i (k, C) with Λ_i = K_iᵀK_i, and u_i = ∂l_i/∂f (1, C)."""

    jacobians: tuple[fmpq_mat, ...]
    roots: tuple[fmpq_mat, ...]
    residuals: tuple[fmpq_mat, ...]

    def __len__(self) -> int:
        return len(self.jacobians)

    @property
    def metrics(self) -> list[fmpq_mat]:
        return [root.transpose() * root for root in self.roots]


def metric_fisher(pool: MetricPool) -> fmpq_mat:
    """F = (1/N) Σ J_iᵀ Λ_i J_i."""
    parts = [
        jacobian.transpose() * metric * jacobian
        for jacobian, metric in zip(pool.jacobians, pool.metrics, strict=True)
    ]
    return sum(parts[1:], parts[0]) / len(pool)


def metric_gradients(pool: MetricPool) -> list[fmpq_mat]:
    """g_i = u_i J_i."""
    return [u * jacobian for u, jacobian in zip(pool.residuals, pool.jacobians, strict=True)]


def metric_igs(pool: MetricPool) -> fmpq:
    """The mean of g_i F⁺ g_iᵀ."""
    inverse = pseudo_inverse(metric_fisher(pool))
    return sum((form(g, inverse, g) for g in metric_gradients(pool)), fmpq(0)) / len(pool)


def metric_ceiling(pool: MetricPool) -> fmpq:
    """Σ u_i Λ_i⁺ u_iᵀ."""
    pairs = zip(pool.residuals, pool.metrics, strict=True)
    return sum((form(u, pseudo_inverse(metric), u) for u, metric in pairs), fmpq(0))


def range_projector(pool: MetricPool) -> fmpq_mat:
    """P onto the range of the stack A of K_i J_i, rational because K_i is."""
    factor = stacked([k * j for k, j in zip(pool.roots, pool.jacobians, strict=True)])
    return factor * pseudo_inverse(factor)


def whitened_residuals(pool: MetricPool) -> list[fmpq_mat]:
    """v_i = u_i K_i⁺ as a row over all rows of A: K_iᵀv_i = u_i, v_i ∈ range K_i."""
    sizes = [root.nrows() for root in pool.roots]
    whitened = []
    for i, (u, root) in enumerate(zip(pool.residuals, pool.roots, strict=True)):
        blocks = [fmpq_mat(1, size) for size in sizes]
        blocks[i] = u * pseudo_inverse(root)
        whitened.append(fmpq_mat([list(itertools.chain(*(b.entries() for b in blocks)))]))
    return whitened


def random_metric_pools(
    count: int, *, inner: int = 2, seed: int = 0, outside: bool = False
) -> list[MetricPool]:
    """C = 3, N = 3, m = 7: K_i of rank ≤ 2, so that every Λ_i is singular, and u_i ∈ range Λ_i."""
    rng, pools = random.Random(seed), []
    for _ in range(count):
        space = random_matrix(rng, inner, 7)
        roots = tuple(random_matrix(rng, 2, 3) for _ in range(3))
        residuals = tuple(
            random_matrix(rng, 1, 3) if outside else random_matrix(rng, 1, 2) * root
            for root in roots
        )
        pools.append(
            MetricPool(
                tuple(random_matrix(rng, 3, inner) * space for _ in range(3)), roots, residuals
            )
        )
    return pools


# Any output metric.


def check_any_metric(outside: bool = False, inverse_metric: bool = True) -> str:
    """The span, IGS = Σ vᵀPv, Σ‖v‖² = Σ uᵀΛ⁺u, and the ceiling, on exact pools."""
    reached, pools = 0, []
    for inner in (2, 4, 7):
        pools += random_metric_pools(8, inner=inner, seed=inner, outside=outside)
    for pool in pools:
        matrix, projector = metric_fisher(pool), range_projector(pool)
        spanned = pseudo_inverse(matrix) * matrix
        require(all(g * spanned == g for g in metric_gradients(pool)), "g_i is in the span of F")
        v = whitened_residuals(pool)
        value = sum((form(row_, projector, row_) for row_ in v), fmpq(0))
        require(metric_igs(pool) == value, "IGS = Σ vᵀPv")
        pairs = zip(pool.residuals, pool.metrics, strict=True)
        ceiling = (
            metric_ceiling(pool)
            if inverse_metric
            else sum((form(u, metric, u) for u, metric in pairs), fmpq(0))
        )
        require(ceiling == sum((trace(x * x.transpose()) for x in v), fmpq(0)), "Σ‖v‖² = Σ uᵀΛ⁺u")
        require(value <= ceiling, "IGS ≤ Σ uᵀΛ⁺u")
        inside = all(x * projector == x for x in v)
        require((value == ceiling) == inside, "equal iff every v_i is in range A")
        reached += int(inside)
    require(0 < reached < len(pools), "pools that reach the ceiling, and others")
    return f"{len(pools)} exact pools with singular Λ and F; ceiling reached in {reached}"


ANY_METRIC = Claim(
    name="igs-any-output-metric",
    source="Appendix F",
    statement=(
        "For any Λ_i ⪰ 0 and u_i = ∂l_i/∂f ∈ range Λ_i: IGS = Σ v_iᵀPv_i ≤ Σ u_iᵀΛ_i⁺u_i, v_i = "
        "Λ_i^{+/2}u_i"
    ),
    status="proved",
    means="exact rational computation",
    argument=(
        "Let Λ = KᵀK, A the stack of K_iJ_i, and v_i = (K_iᵀ)⁺u_i, so that K_iᵀv_i = u_i exactly "
        "if u_i ∈ range K_iᵀ = range Λ_i, and ‖v_i‖² = u_iᵀ(KᵀK)⁺u_i. Then g_i = u_iᵀJ_i = "
        "v_iᵀK_iJ_i = ṽ_iᵀA lies in the row space of A, ṽ_i being v_i at the rows of sample i. "
        "With F = AᵀA/N, g_i F⁺g_iᵀ = N ṽ_iᵀA(AᵀA)⁺Aᵀṽ_i = N ṽ_iᵀPṽ_i, and the mean cancels N. P ≤ "
        "I gives the ceiling, reached iff every ṽ_i ∈ range A. Another root is QK with QᵀQ = I on "
        "range K, which rotates v and P alike: K = Λ^{1/2} is one choice. If u_i leaves range Λ_i, "
        "g_i can leave the span. The check draws rational K_i, so that P is rational, too."
    ),
    check=check_any_metric,
    mutations={
        "u outside range Λ": {"outside": True},
        "Λ in the place of Λ⁺": {"inverse_metric": False},
    },
)


# Expected value under the model.


def check_expected(uniform: bool = False, fisher_metric: bool = True) -> str:
    """Finitely many outcomes y with probabilities q and scores u_y, Λ = Σ q_y u_y u_yᵀ."""
    rng, pools, outcomes = random.Random(11), random_metric_pools(6, seed=4), 4
    for pool in pools:
        scores = [random_matrix(rng, outcomes, 3) for _ in range(len(pool))]
        chances = [random_simplex(rng, outcomes) for _ in range(len(pool))]
        weighted = [
            stacked([q_y * row(score, y) for y, q_y in enumerate(q)])
            for score, q in zip(scores, chances, strict=True)
        ]
        metrics = [s.transpose() * w for s, w in zip(scores, weighted, strict=True)]
        parts = [
            j.transpose() * (metric if fisher_metric else metric + metric) * j
            for j, metric in zip(pool.jacobians, metrics, strict=True)
        ]
        matrix = sum(parts[1:], parts[0]) / len(pool)
        inverse, expected = pseudo_inverse(matrix), fmpq(0)
        for j, score, q in zip(pool.jacobians, scores, chances, strict=True):
            for y, q_y in enumerate(q):
                g = row(score, y) * j
                expected += (fmpq(1, outcomes) if uniform else q_y) * form(g, inverse, g)
        require(expected / len(pool) == matrix.rank(), "E[IGS] = rank F")
    return f"{len(pools)} exact pools with {outcomes} outcomes: equal"


EXPECTED = Claim(
    name="expected-igs-any-likelihood",
    source="beyond the paper",
    statement="If Λ_i = E_{y∼model}[u_i u_iᵀ], the Fisher metric, then E_{y∼model}[IGS] = rank F",
    status="proved",
    means="exact rational computation",
    argument=(
        "E[g_iᵀg_i] = J_iᵀΛ_iJ_i, so (1/N) Σ E[g_i F⁺ g_iᵀ] = tr(F⁺ (1/N) Σ J_iᵀΛ_iJ_i) = tr(F⁺F) "
        "= rank F. It needs the labels to come from the model, and Λ to be the Fisher metric of "
        "that model and not a multiple or another one. u ∈ range Λ holds with probability 1. The "
        "check takes drawn outcomes with rational probabilities."
    ),
    check=check_expected,
    mutations={
        "outcomes uniform": {"uniform": True},
        "twice the Fisher metric": {"fisher_metric": False},
    },
)


# The Gaussian.


def check_gaussian(scale: int = 1, half: int = 2) -> str:
    """∂l/∂f, the Hessian, E[uuᵀ] by integration, KL, and the ceiling for l = ½‖f − y‖²."""
    zeros = 0
    for classes in CLASSES:
        f = sympy.symbols(f"f:{classes}", real=True)
        y = sympy.symbols(f"y:{classes}", real=True)
        d = sympy.symbols(f"d:{classes}", real=True)
        loss = sum((a - b) ** 2 for a, b in zip(f, y, strict=True)) / half
        u = column(sympy.diff(loss, a) for a in f)
        zeros += require_zero(u - (column(f) - column(y)), "∂l/∂f − (f − y)")
        metric = scale * sympy.eye(classes)
        zeros += require_zero(sympy.hessian(loss, f) - metric, "∂²l/∂f² − I")
        zeros += require_zero([u.dot(metric.inv() * u) - 2 * loss], "uᵀΛ⁺u − 2l")
        # The log of the ratio of densities is linear in y, and y ∼ N(f + d, I) has mean f + d.
        shifted = loss - loss.subs({a: a + b for a, b in zip(f, d, strict=True)}, simultaneous=True)
        mean = shifted.expand().subs({b: a + c for a, b, c in zip(f, y, d, strict=True)})
        quadratic = (column(d).T * metric * column(d))[0] / 2
        zeros += require_zero([mean - quadratic], "KL − ½dᵀΛd")
    t = sympy.Symbol("t", real=True)
    density = sympy.exp(-(t**2) / 2) / sympy.sqrt(2 * sympy.pi)
    moments = [sympy.integrate(t**k * density, (t, -sympy.oo, sympy.oo)) for k in (1, 2)]
    require(moments == [0, scale], "E[f_c − y_c] = 0 and E[(f_c − y_c)²] = 1")
    return f"{CASES}: {zeros} entries, all 0; moments {listed(moments)} by integration"


GAUSSIAN = Claim(
    name="gaussian-output-metric",
    source="Appendix F",
    statement="l = ½‖f − y‖²: Λ = I, u = f − y, KL = ½‖df‖² exactly, ceiling Σ‖u_i‖² = 2 Σ l_i",
    status="proved",
    means="symbolic identity",
    argument=(
        "l is −log of the density of N(f, I) up to a constant: u = f − y, ∂²l/∂f² = I, and under y "
        "∼ N(f, I) the entries of u are independent with mean 0 and variance 1, so E[uuᵀ] = I. Λ = "
        "I is invertible, every u is in its range, A is the stack of the J_i with NC rows, none "
        "lost. KL(N(f + d, I) ‖ N(f, I)) = ½‖d‖² has no cubic term. The ceiling Σ uᵀΛ⁺u is 2 Σ l, "
        "linear in the losses where that of softmax is Σ expm1(l). The check differentiates l, and "
        "integrates the moments."
    ),
    check=check_gaussian,
    mutations={
        "Λ = 2I": {"scale": 2},
        "l = ‖f − y‖² with Λ = I": {"half": 1},
    },
)


# One logit.


def check_bernoulli(mirrored: bool = False, metric_power: int = 1) -> str:
    """One logit f against two logits (0, f): loss, p, gradient, JᵀΛJ, ceiling, with e = exp f."""
    f = sympy.Symbol("f", real=True)
    e = sympy.Symbol("e", positive=True)
    slopes = sympy.Matrix([sympy.symbols("j:3")])
    first = -1 if mirrored else 0
    jacobian = sympy.Matrix.vstack(first * slopes, slopes)
    values = {sympy.exp(f): e, sympy.exp(-f): 1 / e}
    p_one = e / (1 + e)
    logits = [first * f, f]
    total = sum(sympy.exp(x) for x in logits)
    p = column(sympy.exp(x) / total for x in logits).subs(values)
    metric = sympy.diag(*p) - p * p.T
    own = (p_one * (1 - p_one)) ** metric_power * slopes.T * slopes
    zeros = require_zero(jacobian.T * metric * jacobian - own, "JᵀΛJ − p(1 − p) jᵀj")
    for label in (0, 1):
        loss = sympy.log(1 + sympy.exp(f)) - label * f
        residual = sympy.diff(loss, f).subs(values)
        zeros += require_zero([residual - (p_one - label)], "∂l/∂f − (p − y)")
        gradient = (p - unit(2, label)).T * jacobian
        zeros += require_zero(gradient - residual * slopes, "(p − e_y)ᵀJ − (p − y)j")
        p_y = p[label]
        length = residual**2 / (p_one * (1 - p_one))
        zeros += require_zero([length - (1 - p_y) / p_y], "uΛ⁺u − (1 − p_y)/p_y")
    return f"both labels, m = 3: {zeros} entries, all 0"


BERNOULLI = Claim(
    name="bernoulli-is-softmax-of-two",
    source="Appendix F",
    statement="One logit f, Λ = p(1 − p): the same F, g, IGS and ceiling as softmax of (0, f)",
    status="proved",
    means="symbolic identity",
    argument=(
        "softmax(0, f) = (1 − p, p) with p = 1/(1 + exp(−f)), so both losses are log(1 + exp f) − "
        "y f. J has the rows 0 and j, and JᵀΛJ = (p − p²) jᵀj; g = (p − e_y)ᵀJ = (p − y) j. All "
        "first-order quantities agree for every network. The ceiling's term is (p − y)²/(p(1 − p)) "
        "= (1 − p_y)/p_y for both labels. The check takes exp f as a free positive symbol."
    ),
    check=check_bernoulli,
    mutations={
        "logits (−f, f)": {"mirrored": True},
        "Λ = p²(1 − p)²": {"metric_power": 2},
    },
)


# The ceiling of softmax as a case of the general one.


def check_ceiling(generalised: int = 1, surplus: int = 0) -> str:
    """diag(1/p) is a generalised inverse of Λ, u ∈ range Λ, and uᵀ diag(1/p) u."""
    zeros = 0
    for classes in CLASSES:
        p = simplex(classes)
        metric = sympy.diag(*p) - column(p) * column(p).T
        inverse = sympy.diag(*(p_c**-generalised for p_c in p))
        zeros += require_zero(metric * inverse * metric - metric, "ΛXΛ − Λ")
        for label in range(classes):
            u = column(p) - unit(classes, label)
            # Λ maps −e_y/p_y to p − e_y.
            preimage = -unit(classes, label) / p[label]
            zeros += require_zero(metric * preimage - u, "Λ(−e_y/p_y) − u")
            value = (u.T * inverse * u)[0] + surplus
            zeros += require_zero([value - (1 - p[label]) / p[label]], "uᵀXu − (1 − p_y)/p_y")
    return f"{CASES}: {zeros} entries, all 0"


SOFTMAX_CEILING = Claim(
    name="softmax-ceiling-from-the-metric",
    source="Appendix F",
    statement="For softmax uᵀΛ⁺u = (p − e_y)ᵀ diag(1/p) (p − e_y) = (1 − p_y)/p_y = expm1(l)",
    status="proved",
    means="symbolic identity",
    argument=(
        "X = diag(1/p) satisfies ΛXΛ = Λ: ΛX = I − p1ᵀ, and (I − p1ᵀ)Λ = Λ as 1ᵀΛ = 0. u = p − e_y "
        "= Λ(−e_y/p_y) lies in range Λ, where every generalised inverse gives the same form, so "
        "uᵀΛ⁺u = Σ_c u_c²/p_c = Σ_c p_c − 2 + 1/p_y = (1 − p_y)/p_y, and p_y = exp(−l). The "
        "general ceiling contains that of softmax. The check expands for every label."
    ),
    check=check_ceiling,
    mutations={
        "diag(1/p²)": {"generalised": 2},
        "1/p_y": {"surplus": 1},
    },
)

CLAIMS: tuple[Claim, ...] = (ANY_METRIC, EXPECTED, GAUSSIAN, BERNOULLI, SOFTMAX_CEILING)
