"""H − F: what it is, when it vanishes, and what training does to it."""

import itertools
from collections.abc import Sequence

import sympy
from flint import fmpq
from sympy import Rational

from verification.claims.claim import Claim, require
from verification.claims.normal_form import column, require_zero
from verification.claims.softplus_unit import Input, SoftplusUnit

CLASSES = (2, 3, 4)

# H − F = (1/N) Σ_i Σ_c (p_ic − q_ic) ∇²f_ic, for one sample and two parameters a, b.

A, B = sympy.symbols("a b", real=True)
PAIRS = ((A, A), (A, B), (B, B))


def labels(classes: int) -> list[sympy.Symbol]:
    return list(sympy.symbols(f"q:{classes - 1}", positive=True))


def any_logits(classes: int) -> list[sympy.Expr]:
    """Functions of a and b about which nothing is known: any two parameters of any network."""
    return [sympy.Function(f"f{c}")(A, B) for c in range(classes)]


def hessian_and_fisher(
    f: Sequence[sympy.Expr], q: Sequence[sympy.Expr], exponentials: Sequence[sympy.Symbol]
) -> list[tuple[sympy.Expr, sympy.Expr]]:
    """(H_jk, F_jk) for the pairs, of l = log Σ_c exp f_c − Σ_c q_c f_c; exp f_c ↦ e_c."""
    values = {sympy.exp(logit): e for logit, e in zip(f, exponentials, strict=True)}
    loss = sympy.log(sum(map(sympy.exp, f))) - sum(w * g for w, g in zip(q, f, strict=True))
    p = [e / sum(exponentials) for e in exponentials]
    metric = sympy.diag(*p) - column(p) * column(p).T
    slopes = {s: column(sympy.diff(g, s) for g in f) for s in (A, B)}
    return [
        (sympy.diff(loss, j, k).subs(values), (slopes[j].T * metric * slopes[k])[0, 0])
        for j, k in PAIRS
    ]


def remainder(
    f: Sequence[sympy.Expr], p: Sequence[sympy.Expr], q: Sequence[sympy.Expr]
) -> list[sympy.Expr]:
    """Σ_c (p_c − q_c) ∂²f_c/∂j∂k for the pairs."""
    return [
        sum((a - b) * sympy.diff(g, j, k) for a, b, g in zip(p, q, f, strict=True))
        for j, k in PAIRS
    ]


def check_difference(sign: int = 1, label_weight: int = 1) -> str:
    """H by differentiating the loss twice, against F plus the term written out."""
    zeros = 0
    for classes in CLASSES:
        f, e = any_logits(classes), sympy.symbols(f"e:{classes}", positive=True)
        free = labels(classes)
        q = [*free, 1 - sum(free)]
        p = [value / sum(e) for value in e]
        rest = remainder(f, p, [label_weight * value for value in q])
        found = hessian_and_fisher(f, q, e)
        zeros += require_zero(
            [H - F - sign * r for (H, F), r in zip(found, rest, strict=True)], "H − F − remainder"
        )
    return f"C = 2, 3, 4, any f(a, b): {zeros} entries, all 0"


DIFFERENCE = Claim(
    name="hessian-minus-fisher",
    source="section 2",
    statement="H − F = (1/N) Σ_i Σ_c (p_ic − q_ic) ∇²f_ic, q_i the label distribution of sample i",
    status="proved",
    means="symbolic identity",
    argument=(
        "l = log Σ_c exp f_c − Σ_c q_c f_c has ∂l/∂f = p − q, as Σ q_c = 1, and ∂²l/∂f² = Λ. Chain "
        "rule: ∂²l/∂θ_j∂θ_k = (∂f/∂θ_j)ᵀΛ(∂f/∂θ_k) + Σ_c (p_c − q_c) ∂²f_c/∂θ_j∂θ_k, for every "
        "network that is twice differentiable; the mean over samples is the claim, and q = e_y the "
        "case of a hard label. An entry involves two parameters, so the check takes unknown "
        "functions f_c(a, b), differentiates the loss twice, replaces exp f_c by free symbols and "
        "expands."
    ),
    check=check_difference,
    mutations={
        "sign of the residual": {"sign": -1},
        "labels left out": {"label_weight": 0},
    },
)


def check_equality(curvature: int = 0, chance: str = "model", q: str = "model") -> str:
    """The three cases: logits linear in θ, q = p, the mean over labels from the model."""
    zeros = 0
    for classes in CLASSES:
        e = sympy.symbols(f"e:{classes}", positive=True)
        p = [value / sum(e) for value in e]
        free = labels(classes)
        any_q = [*free, 1 - sum(free)]
        coefficients = sympy.symbols(f"u:{classes} v:{classes} w:{classes}", real=True)
        u, v, w = (coefficients[k * classes : (k + 1) * classes] for k in range(3))
        linear = [w[c] + u[c] * A + v[c] * B + curvature * (c + 1) * A * B for c in range(classes)]
        zeros += require_zero(
            [H - F for H, F in hessian_and_fisher(linear, any_q, e)], "linear logits: H − F"
        )
        f = any_logits(classes)
        targets = p if q == "model" else any_q
        found = hessian_and_fisher(f, targets, e)
        # H is differentiated with q held fixed: e_c is a symbol of its own there.
        zeros += require_zero([H - F for H, F in found], "q = p: H − F")
        for j, k in PAIRS:
            mean = sympy.Integer(0)
            for label in range(classes):
                weight = p[label] if chance == "model" else Rational(1, classes)
                hard = [int(c == label) for c in range(classes)]
                mean += weight * sum(
                    (a - b) * sympy.diff(g, j, k) for a, b, g in zip(p, hard, f, strict=True)
                )
            zeros += require_zero([mean], "E over y ∼ p of the remainder")
    return f"C = 2, 3, 4: {zeros} entries, all 0"


EQUALITY = Claim(
    name="hessian-equals-fisher",
    source="section 2",
    statement="H = F if logits are linear in θ, if p_i = q_i, and in the mean over labels y ∼ p",
    status="proved",
    means="symbolic identity",
    argument=(
        "In hessian-minus-fisher every term vanishes if ∇²f_ic = 0, for any labels and at every θ "
        "(softmax regression, a last layer alone), or if p_ic = q_ic; and E_{y∼p}[p − e_y] = 0 at "
        "each input. p = q at each input means that the model is true there: with label noise it "
        "takes many labels of one input, or soft ones. It is not what a hard label reaches: p = "
        "e_y only in the limit of infinite logits, where F vanishes too. The check runs the three "
        "cases with the same differentiation."
    ),
    check=check_equality,
    mutations={
        "logits with a product of parameters": {"curvature": 1},
        "labels not from the model": {"chance": "uniform"},
        "q other than p": {"q": "any"},
    },
)

# What training does to it.


def check_after_training(noise: Sequence[int] = (9, 9), exponent: int = 1, decay: int = 1) -> str:
    """The stationary unit with one label in ten wrong; two clean logits as p → 1."""
    ones, per_input = noise, 10
    unit = SoftplusUnit(
        tuple(Input(x, fmpq(count, per_input)) for x, count in zip((1, -1), ones, strict=True))
    )
    require(unit.gradient() == 0, "the gradient is 0")
    require(unit.hessian() > 0, "H > 0: a minimum")
    ratio = unit.fisher() / unit.hessian()
    require(ratio == 11, "F = 11 H")
    p, theta = sympy.symbols("p theta", positive=True)
    logit = exponent * sympy.log(theta) + (1 - exponent) * theta
    first, second = sympy.diff(logit, theta), sympy.diff(logit, theta, 2)
    F = p * (1 - p) * first**2
    H = F - (1 - p) * second
    require_zero([H / F - (1 + p) / p], "H/F − (1 + p)/p")
    limit = sympy.limit(sympy.cancel(H / F), p, 1)
    require(limit == 2, "H/F → 2 as the loss → 0")
    difference = growing_difference(decay)
    require(difference == sympy.oo, "H − F → ∞ though the loss → 0")
    return (
        f"gradient 0, H = {unit.hessian()}, F = {unit.fisher()} = {ratio} H; clean: H/F → {limit}; "
        f"unbounded: H − F → ∞"
    )


def growing_difference(decay: int) -> sympy.Expr:
    """The limit of H − F = (p − 1)f″ for f = θ + e^{−decay θ/2} sin(e^θ), y = 1, where sin = 1."""
    theta, s = sympy.symbols("theta s", positive=True)
    inner = sympy.exp(theta)
    curvature = sympy.diff(theta + sympy.exp(-decay * theta / 2) * sympy.sin(inner), theta, 2)
    crest = {sympy.sin(inner): 1, sympy.cos(inner): 0}
    # s = e^{θ/2}, so that f = 2 log s + s^−decay and 1 − p = 1/(1 + e^f).
    f_second = sympy.simplify(sympy.expand(curvature).subs(crest).subs(theta, 2 * sympy.log(s)))
    return sympy.limit(-f_second / (1 + s**2 * sympy.exp(s**-decay)), s, sympy.oo)


AFTER_TRAINING = Claim(
    name="hessian-is-fisher-after-training",
    source="section 2",
    statement="After sufficient training the Hessian can be approximated by the FIM",
    status="refuted",
    means="exact rational computation",
    argument=(
        "By hessian-minus-fisher the difference is residuals times the curvature of the logits. At "
        "a minimum Σ_i (p_i − q_i)ᵀJ_i = 0, which does not make Σ_i Σ_c (p_ic − q_ic)∇²f_ic "
        "vanish: if the labels cannot be fitted, residuals stay, however long the training. If "
        "they can, and the second derivatives of the logits stay bounded on the way, H − F → 0 "
        "(hessian-fisher-bound), but F → 0 at the same rate, and the quotient need not tend to 1. "
        "Where they do not stay bounded, not even the difference need vanish. What is true: "
        "equality in the three cases of hessian-equals-fisher, and of the diagonals in "
        "relu-diagonals-agree. The check has exact numbers for the first two failures and the "
        "limit of the third."
    ),
    check=check_after_training,
    mutations={
        "other labels, no minimum": {"noise": (9, 8)},
        "logit linear in θ": {"exponent": 0},
        "second derivatives that stay bounded": {"decay": 4},
    },
    counterexample=(
        "One weight, one softplus unit: f(x) = log(1 + e^{θx}), Bernoulli likelihood with p = "
        "σ(f), at θ = log 2, ten samples at x = 1 and ten at x = −1, nine of each ten labelled 1. "
        "The gradient is exactly 0, H = 1/200 > 0 and F = 11/200: F = 11 H at a minimum. Without "
        "noise: f = log θ, y = 1; then H/F = (1 + p)/p → 2 as θ → ∞ and the loss → 0. "
        "Unbounded: f = θ + e^{−θ/2} sin(e^θ), y = 1; the loss → 0 as θ → ∞, but where sin(e^θ) = "
        "1 the difference H − F = (p − 1)f″ is near e^{θ/2} → ∞."
    ),
)


def check_bound(factor: int = 2) -> str:
    """1 − p ≤ −log p by its derivative; Σ_c |p_c − e_yc| = 2(1 − p_y); the factor is attained."""
    p = sympy.Symbol("p", positive=True)
    excess = -sympy.log(p) - (1 - p)
    require_zero([excess.subs(p, 1), sympy.diff(excess, p) + (1 - p) / p], "−log p − (1 − p)")
    for classes in CLASSES:
        wrong = sympy.symbols(f"p1:{classes}", positive=True)
        right = 1 - sum(wrong)
        # p_y − 1 ≤ 0 and p_c ≥ 0 decide the absolute values.
        require_zero([(1 - right) + sum(wrong) - factor * (1 - right)], "Σ |p_c − e_yc|")
    # f = (h, −h): H − F = (p_y − 1) h'' − (1 − p_y) h''; over l |h''| that tends to 2.
    attained = sympy.limit(2 * (1 - p) / -sympy.log(p), p, 1)
    require(attained == factor, "the factor is attained as p → 1")
    return f"C = 2, 3, 4: sums equal; the factor {factor} is attained for f = (h, −h), p → 1"


BOUND = Claim(
    name="hessian-fisher-bound",
    source="beyond the paper",
    statement="‖H − F‖ ≤ (2/N) Σ_i l_i max_c ‖∇²f_ic‖ for hard labels, and 2 is the best constant",
    status="proved",
    means="symbolic identity",
    argument=(
        "‖H − F‖ ≤ (1/N) Σ_i Σ_c |p_ic − e_yc| max_c ‖∇²f_ic‖ by the triangle inequality, and Σ_c "
        "|p_c − e_yc| = 1 − p_y + Σ_{c≠y} p_c = 2(1 − p_y) ≤ 2l: −log p − (1 − p) is 0 at 1 and "
        "has the derivative −(1 − p)/p < 0 on (0, 1). So where the curvature of the logits stays "
        "bounded and the training loss tends to 0, so does H − F. This is absolute: F is of the "
        "order of 1 − p_y as well. With f = (h, −h) both sides have the quotient 1 in the limit "
        "p_y → 1. The check runs both steps and the limit."
    ),
    check=check_bound,
    mutations={"1 for 2": {"factor": 1}, "4 for 2": {"factor": 4}},
)

# ReLU networks: the diagonals.


def piecewise_linear_logits(power: int, tied: bool) -> tuple[list[sympy.Expr], list[sympy.Symbol]]:
    """Logits of a 2-2-2-2 network, with the slopes of its activations at one input as symbols.

    power: of z in the activation, 1 for any that is linear near z.
    """
    x = sympy.symbols("x:2", real=True)
    parameters: list[sympy.Symbol] = []
    units: list[sympy.Expr] = list(x)
    for level in range(3):
        shared = 0 if tied else level
        weights = sympy.symbols(f"w{shared}_:4", real=True)
        biases = sympy.symbols(f"b{level}_:2", real=True)
        parameters += [*weights, *biases]
        units = [
            weights[2 * r] * units[0] + weights[2 * r + 1] * units[1] + biases[r] for r in range(2)
        ]
        if level < 2:
            slopes = sympy.symbols(f"s{level}_:2", real=True)
            units = [s * z**power for s, z in zip(slopes, units, strict=True)]
    return units, list(dict.fromkeys(parameters))


def check_relu(power: int = 1, tied: bool = False) -> str:
    """∂²f_c/∂θ_j² = 0 for each weight and bias; an off-diagonal entry that is not 0."""
    logits, parameters = piecewise_linear_logits(power, tied)
    zeros = require_zero(
        [sympy.diff(f, theta, 2) for f, theta in itertools.product(logits, parameters)],
        "∂²f_c/∂θ_j²",
    )
    first, last = sympy.symbols("w0_0 w1_0", real=True)
    mixed = sympy.expand(sympy.diff(logits[0], first, last))
    require(mixed != 0, "off the diagonal ∂²f_c/∂θ_j∂θ_k is not 0")
    return f"2-2-2-2, any slopes: {zeros} second derivatives, all 0; ∂²f_0/∂w_1∂w_2 = {mixed}"


RELU = Claim(
    name="relu-diagonals-agree",
    source="beyond the paper",
    statement=(
        "ReLU and leaky ReLU MLP, no weight used in two layers, off the kinks: diag H = diag F, so "
        "Tr H = Tr F, for any labels and at every θ"
    ),
    status="proved",
    means="symbolic identity",
    argument=(
        "Off the kinks every activation is z ↦ s z with a slope s that is constant nearby. The "
        "output of one linear layer is affine in each of its parameters, and everything above is "
        "then an affine function of that output: f_c is affine in each single parameter, "
        "∂²f_c/∂θ_j² = 0, and the diagonal of H − F = (1/N) Σ (p − q) ∇²f vanishes. (Convolutions "
        "and max pooling keep this: one layer's uses of a weight add up. Weights tied across "
        "layers, normalisation by the batch and smooth activations do not.) Off the diagonal H and "
        "F differ in general. The check differentiates a 2-2-2-2 network with symbols for weights, "
        "biases, inputs and slopes."
    ),
    check=check_relu,
    mutations={
        "a weight used in all layers": {"tied": True},
        "activation z²": {"power": 2},
    },
)

CLAIMS = (DIFFERENCE, EQUALITY, AFTER_TRAINING, BOUND, RELU)
