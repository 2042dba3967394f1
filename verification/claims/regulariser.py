"""Equations (12) and (13): what the perturbed loss penalises, and what its gradient does."""

import itertools
from dataclasses import dataclass

import sympy
from flint import fmpq
from sympy import Rational

from verification.claims.claim import Claim, require
from verification.claims.exact_geometry import (
    Pool,
    fisher,
    form,
    gradients,
    pseudo_inverse,
    random_pools,
    rational,
    stacked,
)
from verification.claims.normal_form import column, require_zero


@dataclass(frozen=True)
class SmallNetwork:
    """f_i = v (1 + κ w x_i) + (1 − κ) w x_i at (v, w) = (1, 1/2), Bernoulli likelihood.

    κ = 1: one linear hidden unit with a fixed bias; κ = 0: logits linear in v and w. x = 1 and −1,
    labels 1 and 0. exp f_i are free symbols e_i, so that identities hold for all of them.
    """

    kappa: int = 1
    inputs: tuple[int, ...] = (1, -1)
    labels: tuple[int, ...] = (1, 0)

    @property
    def exponentials(self) -> tuple[sympy.Symbol, ...]:
        return sympy.symbols(f"e:{len(self.inputs)}", positive=True)

    @property
    def probabilities(self) -> list[sympy.Expr]:
        return [e / (1 + e) for e in self.exponentials]

    def logit(self, x: int, v: sympy.Expr, w: sympy.Expr) -> sympy.Expr:
        return v * (1 + self.kappa * w * x) + (1 - self.kappa) * w * x

    def slopes(self) -> list[sympy.Matrix]:
        """J_i as columns."""
        v, w = sympy.symbols("v w")
        at = {v: 1, w: Rational(1, 2)}
        return [
            column(sympy.diff(self.logit(x, v, w), s).subs(at) for s in (v, w)) for x in self.inputs
        ]

    def gradient(self) -> sympy.Matrix:
        terms = zip(self.probabilities, self.labels, self.slopes(), strict=True)
        return sum(((p - y) * J for p, y, J in terms), sympy.zeros(2, 1)) / len(self.inputs)

    def fisher(self) -> sympy.Matrix:
        terms = zip(self.probabilities, self.slopes(), strict=True)
        return sum((p * (1 - p) * J * J.T for p, J in terms), sympy.zeros(2)) / len(self.inputs)

    def hessian(self) -> sympy.Matrix:
        """F + (1/N) Σ (p − y) ∇²f, ∇²f = κ x off the diagonal."""
        terms = zip(self.probabilities, self.labels, self.inputs, strict=True)
        mixed = sum((p - y) * self.kappa * x for p, y, x in terms) / len(self.inputs)
        return self.fisher() + sympy.Matrix([[0, mixed], [mixed, 0]])

    def step(self) -> sympy.Matrix:
        """F⁻¹gᵀ."""
        F = self.fisher()
        solution = F.adjugate() * self.gradient() / F.det()
        return column(sympy.cancel(entry) for entry in solution)

    def along(self, direction: sympy.Matrix, rho: sympy.Symbol, offset: sympy.Matrix) -> sympy.Expr:
        """L at θ + offset + ρ·direction, as a function of ρ and of symbols in the offset."""
        v, w = (
            start + shift + rho * d
            for start, shift, d in zip((1, Rational(1, 2)), offset, direction, strict=True)
        )
        losses = []
        for x, y, e in zip(self.inputs, self.labels, self.exponentials, strict=True):
            moved = self.logit(x, v, w) - self.logit(x, sympy.Integer(1), Rational(1, 2))
            # exp f_i = e_i times exp of what the step adds.
            losses.append(sympy.log(1 + e * sympy.exp(moved)) - y * (sympy.log(e) + moved))
        return sum(losses) / len(losses)


D = column(sympy.symbols("d:2"))
"""A direction whose value is put in after differentiation."""
STAY = sympy.zeros(2, 1)


def check_expansion(order: int = 2, curvature: str = "hessian") -> str:
    """φ(ρ) = L(θ + ρ d) differentiated twice at 0, d = F⁻¹g put in afterwards."""
    network, rho = SmallNetwork(), sympy.Symbol("rho")
    F, g = network.fisher(), network.gradient()
    step = network.step()
    loss = network.along(D, rho, STAY)
    first, second = (sympy.diff(loss, rho, k).subs(rho, 0) for k in (1, 2))
    zeros = require_zero([first - (g.T * D)[0, 0]], "φ'(0) − g·d for every d")
    metric = network.hessian() if curvature == "hessian" else F
    claimed = (D.T * metric * D)[0, 0] / order
    zeros += require_zero([second / 2 - claimed], "φ''(0)/2 − ½dᵀHd for every d")
    at_step = dict(zip(D, step, strict=True))
    zeros += require_zero(F * step - g, "F d − g")
    zeros += require_zero([first.subs(at_step) - (step.T * F * step)[0, 0]], "φ'(0) − gF⁻¹g")
    return f"N = 2, m = 2, any exp f_i: {zeros} rational functions, all 0"


EXPANSION = Claim(
    name="perturbed-loss-expansion",
    source="(12), (13)",
    statement="L(θ + ρF⁺gᵀ) = L + ρ gF⁺gᵀ + ½ρ² gF⁺HF⁺gᵀ + O(ρ³), g and L over the same data",
    status="proved",
    means="symbolic identity",
    argument=(
        "Taylor along the line: φ(ρ) = L(θ + ρd) has φ'(0) = g·d and φ''(0) = dᵀHd, here with d = "
        "F⁺gᵀ, for every loss that is three times differentiable near θ (a ReLU network: up to the "
        "first kink). So the perturbed loss is the penalised one up to ρ², and the leading error "
        "is ½ρ² gF⁺HF⁺gᵀ, with the Hessian and not F; where H = F it is ½ρ² gF⁺gᵀ, and then "
        "relative to the penalty it is ρ/2. The check differentiates the loss of a small network "
        "with a hidden unit, exp f_i as free symbols, for every d and for d = F⁻¹g."
    ),
    check=check_expansion,
    mutations={
        "ρ² for ½ρ²": {"order": 1},
        "F for H": {"curvature": "fisher"},
    },
)

# Which sharpness.


def batch_mean(pool: Pool, size: int) -> fmpq:
    """E_B[ḡ_B F⁺ ḡ_Bᵀ] over all batches of independent draws: the ρ coefficient of (13)."""
    inverse, rows = pseudo_inverse(fisher(pool)), gradients(pool)
    values = []
    for batch in itertools.product(rows, repeat=size):
        mean = rational([[fmpq(1, size)] * size]) * stacked(batch)
        values.append(form(mean, inverse, mean))
    return sum(values, fmpq(0)) / len(values)


def check_which_sharpness(share_of_one: int = 1, per_sample: bool = True) -> str:
    """First-order coefficients of all readings in pools; both samples of one input, p = ½."""
    slacks = []
    for pool in random_pools(3, seed=10):
        inverse, rows = pseudo_inverse(fisher(pool)), gradients(pool)
        mean = rational([[fmpq(1, len(rows))] * len(rows)]) * stacked(rows)
        full = form(mean, inverse, mean)
        steps = rows if per_sample else [mean] * len(rows)
        pairs = zip(rows, steps, strict=True)
        # d/dρ of (1/N) Σ l_i(θ + ρF⁺s_i) at 0, s_i the gradient that makes the step of sample i.
        igs = sum((form(g, inverse, s) for g, s in pairs), fmpq(0)) / len(rows)
        spread = sum((form(g - mean, inverse, g - mean) for g in rows), fmpq(0)) / len(rows)
        require(igs - full == spread, "IGS − G is the spread of the gradients")
        require(spread > 0, "and positive here")
        for size in (1, 2, 3):
            expected = fmpq(share_of_one, size) * igs + (1 - fmpq(share_of_one, size)) * full
            require(batch_mean(pool, size) == expected, f"batches of {size}: IGS_b")
        slacks.append(igs / full)
    still = Pool((rational([[1], [0]]),) * 2, ((fmpq(1, 2), fmpq(1, 2)),) * 2, (0, 1))
    # Batches of one have the mean IGS; for batches of b it is IGS/b + (1 − 1/b) G.
    igs = batch_mean(still, 1)
    full = 2 * batch_mean(still, 2) - igs
    require(full == 0 and igs == 1, "ḡ = 0: G = 0 and IGS = 1")
    ratios = ", ".join(f"{float(ratio):.1f}" for ratio in slacks)
    return (
        f"3 pools, all batches of 1, 2, 3: exact; IGS/G = {ratios}; ḡ = 0: IGS = {igs}, G = {full}"
    )


WHICH = Claim(
    name="which-sharpness-is-penalised",
    source="(12), (13)",
    statement="L(θ + δ), δ = ρF⁺gᵀ, is L + ρ·IGS to first order",
    status="proved with a correction",
    means="exact rational computation",
    argument=(
        "IGS is a mean over samples of g_iF⁺g_iᵀ. The correction is which g makes the step "
        "(perturbed-loss-expansion for each): one step per sample, (1/N) Σ l_i(θ + ρF⁺g_iᵀ) = L + "
        "ρ·IGS + O(ρ²); one step with the full-batch gradient, L + ρ·G, G = ḡF⁺ḡᵀ; one step per "
        "mini-batch of size b and its own loss, in the mean L + ρ·IGS_b, equation (7), = L + "
        "ρ(IGS/b + (1 − 1/b)G) for independent draws and F held fixed. IGS − G = (1/N) Σ (g_i − "
        "ḡ)F⁺(g_i − ḡ)ᵀ ≥ 0. At a stationary point ḡ = 0, so G = 0 and the full-batch form "
        "penalises nothing, however large IGS is. The check has the coefficients in exact pools, "
        "over all mini-batches, and two samples of one input with both labels: ḡ = 0, IGS = 1."
    ),
    check=check_which_sharpness,
    mutations={
        "IGS with the weight 2/b": {"share_of_one": 2},
        "one step for all samples": {"per_sample": False},
    },
)

# The gradient of (13).


def check_fixed_step(kappa: int = 0, curvature: str = "hessian") -> str:
    """∇_θ L(θ + ρd) with d fixed, differentiated in ρ at 0: H d; F F⁻¹ g = g where H = F."""
    rho, shift, zeros = sympy.Symbol("rho"), column(sympy.symbols("s:2")), 0
    at_theta = {rho: 0, shift[0]: 0, shift[1]: 0}
    for network in (SmallNetwork(kappa=1), SmallNetwork(kappa=kappa)):
        loss = network.along(D, rho, shift)
        metric = network.hessian() if curvature == "hessian" else network.fisher()
        found = column(sympy.diff(loss, s, rho).subs(at_theta) for s in shift)
        zeros += require_zero(found - metric * D, "d/dρ ∇L(θ + ρd) − H d")
    linear = SmallNetwork(kappa=kappa)
    zeros += require_zero(linear.hessian() * linear.step() - linear.gradient(), "HF⁻¹g − g")
    pools = random_pools(3, seed=11)
    for pool in pools:
        F, mean = fisher(pool), sum(gradients(pool)[1:], gradients(pool)[0]) / len(pool)
        require(mean * pseudo_inverse(F) * F == mean, "g F⁺F = g for a singular F")
    return (
        f"N = 2, m = 2: {zeros} rational functions, all 0; gF⁺F = g in {len(pools)} singular pools"
    )


FIXED = Claim(
    name="gradient-with-fixed-step",
    source="(13)",
    statement=(
        "∇_θ L(θ + δ) with δ = ρF⁺gᵀ held fixed is g + ρHF⁺gᵀ + O(ρ²); where H = F this is (1 + "
        "ρ)g: a change of learning rate"
    ),
    status="proved",
    means="symbolic identity",
    argument=(
        "With δ fixed the gradient is ∇L at θ + δ, that is gᵀ + Hδ + O(ρ²). If H = F, HF⁺gᵀ = "
        "FF⁺gᵀ = gᵀ, since g lies in range F, singular or not: the first-order effect of (13) is "
        "the factor 1 + ρ on the learning rate and no change of direction. H = F is the premise "
        "under which the sharpness was derived from TIC. What (13) does regularise comes from H ≠ "
        "F, from approximations of F⁺ (damping, EKFAC) and from higher orders of ρ. The check "
        "differentiates a small network's loss, curved and with linear logits (where H = F "
        "exactly), exp f_i as free symbols, and has FF⁺g = g in singular pools."
    ),
    check=check_fixed_step,
    mutations={
        "H ≠ F": {"kappa": 1},
        "F for H in a curved network": {"curvature": "fisher"},
    },
)


def check_both_gradients(fisher_varies: int = 1) -> str:
    """One sample, f = θ, label 1: d/dθ of g²/F by differentiation, against HF⁻¹g."""
    theta, e = sympy.Symbol("theta", real=True), sympy.Symbol("e", positive=True)
    p = 1 / (1 + sympy.exp(-theta))
    loss = -sympy.log(p)
    g, H, F = sympy.diff(loss, theta), sympy.diff(loss, theta, 2), p * (1 - p)
    by_penalty = sympy.diff(g**2 / F, theta)
    written = 2 * H * g / F - fisher_varies * g**2 * sympy.diff(F, theta) / F**2
    by_step = H * g / F
    at = {sympy.exp(-theta): 1 / e, sympy.exp(-2 * theta): 1 / e**2, sympy.exp(theta): e}
    zeros = require_zero([(by_penalty - written).subs(at)], "∇(g²/F) − both of its terms")
    zeros += require_zero([(H - F).subs(at)], "H − F")
    ratio = sympy.cancel((by_penalty / by_step).subs(at))
    zeros += require_zero([ratio - (1 + 1 / e)], "∇IGS / HF⁻¹g − 1/p")
    at_half = ratio.subs(e, 1)
    require(at_half != 1, "they differ at p = ½")
    return f"{zeros} rational functions, all 0; ∇(gF⁻¹g) = HF⁻¹g/p, {at_half} × HF⁻¹g at p = 1/2"


BOTH = Claim(
    name="gradients-of-12-and-13-agree",
    source="(12), (13)",
    statement="To first order in ρ the gradient of (13), δ held fixed, is that of the loss (12)",
    status="refuted",
    means="symbolic identity",
    argument=(
        "Values agree to first order, gradients do not: F and g in δ depend on θ. For F ≻ 0, "
        "∂_j(gF⁻¹gᵀ) = 2(HF⁻¹gᵀ)_j − gF⁻¹(∂_jF)F⁻¹gᵀ, of which (13) has (HF⁻¹gᵀ)_j: half of the "
        "first term, and nothing of the second, the change of the metric. Where H = F the gradient "
        "of (13) is parallel to g, and that of (12) is 2g minus a term that need not be. (F "
        "singular of constant rank: the same with F⁺.) The check differentiates the smallest model "
        "twice, and compares."
    ),
    check=check_both_gradients,
    mutations={"metric held fixed": {"fisher_varies": 0}},
    counterexample=(
        "One sample with label 1 and one weight, f = θ, p = σ(θ): H = F = p(1 − p), IGS = (1 − "
        "p)/p = e^{−θ}. (12) adds −ρ(1 − p)/p to the gradient and (13) adds −ρ(1 − p), smaller by "
        "the factor p: at θ = 0, −ρ against −ρ/2."
    ),
)

CLAIMS = (EXPANSION, WHICH, FIXED, BOTH)
