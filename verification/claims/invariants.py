"""What an exactly reparametrisation-invariant first-order quantity can depend on."""

import random
from fractions import Fraction

from flint import arb, ctx, fmpq, fmpq_mat

from verification.claims.claim import Claim, require
from verification.claims.linear_algebra import (
    Number,
    basis,
    column,
    completed,
    identity,
    matrix,
    projector,
    pseudo_inverse,
    random_invertible,
    random_matrix,
    random_of_rank,
    select,
    total,
)
from verification.claims.rank import output_metric
from verification.claims.rational_network import (
    Linear,
    Network,
    class_differences,
    forward,
    jacobian,
)

# Statement: φ(AT, s) = φ(A, s) for all invertible T iff φ is a function of (range A, s).


def connecting(a: fmpq_mat, b: fmpq_mat, extend: bool = True) -> fmpq_mat:
    """T with A T = B for two matrices of one range; invertible, unless not extended.

    A = U X and B = U Y with a basis U of the range; X and Y, completed to invertible matrices X̂
    and Ŷ, give T = X̂⁻¹Ŷ.
    """
    u = basis(a)
    inverse = (u.transpose() * u).inv() * u.transpose()
    x, y = inverse * a, inverse * b
    if not extend:
        return pseudo_inverse(x) * y
    return completed(x).inv() * completed(y)


def check_characterisation(extend: bool = True, same_range: bool = True) -> str:
    draw = random.Random(53)
    count = 0
    for n, m, rank in ((4, 5, 3), (5, 5, 2), (6, 4, 4), (3, 6, 3), (5, 3, 1)):
        a = random_of_rank(draw, n, m, rank)
        u = basis(a)
        other = u if same_range else random_of_rank(draw, n, rank, rank)
        b = other * random_of_rank(draw, rank, m, rank)
        t = connecting(a, b, extend)
        require(t.det() != 0, "T is invertible")
        require(a * t == b, "A T = B")
        s = random_invertible(draw, m)
        require(projector(a * s) == projector(a), "range(AS) = range(A)")
        count += 1
    return f"{count} pairs (A, B) of one range, ranks 1–4: T found, det T ≠ 0, A T = B exactly"


CHARACTERISATION = Claim(
    name="invariants-see-range-and-outputs-only",
    source="beyond the paper",
    statement="φ(AT, s) = φ(A, s) for all invertible T ⟺ φ(A, s) depends on (range A, s) only "
    "(m fixed)",
    status="proved",
    means="exact rational computation",
    argument="⟸: range(AT) = range(A). ⟹: let A, B ∈ R^{n×m} have one range of dimension r, with "
    "a basis U ∈ R^{n×r}: A = UX, B = UY, X and Y of full row rank r. Complete them to invertible "
    "m × m matrices X̂ and Ŷ, whose first r rows are X and Y, and let T = X̂⁻¹Ŷ. Then XT = [I 0] "
    "X̂X̂⁻¹Ŷ = Y, so AT = B, and φ(B, s) = φ(AT, s) = φ(A, s). Every invertible T is the derivative "
    "of a reparametrisation θ = Tη, so this describes all first-order invariants at a point; s may "
    "be anything that a reparametrisation leaves alone, as outputs and labels. Hessians transform "
    "with second derivatives and are outside. The check constructs T exactly.",
    check=check_characterisation,
    mutations={
        "X and Y not completed": {"extend": False},
        "another range": {"same_range": False},
    },
)


# Statement: damping in output space is invariant.


def damped_form(
    jacobians: list[fmpq_mat],
    gradients: list[fmpq_mat],
    p: list[fmpq],
    in_outputs: Number,
    in_parameters: Number,
) -> fmpq:
    """(1/N) Σ g_i F⁺ g_iᵀ, F = (1/N) Σ J_iᵀ(Λ + λ(I − 11ᵀ/C))J_i + μI, one p for all samples."""
    classes, size = len(p), jacobians[0].ncols()
    centred = identity(classes) - matrix([[fmpq(1, classes)] * classes] * classes)
    metric = output_metric(p) + centred * in_outputs
    mean = total([jac.transpose() * metric * jac for jac in jacobians]) * fmpq(1, len(jacobians))
    inverse = pseudo_inverse(mean + identity(size) * in_parameters)
    forms = [(g * inverse * g.transpose())[0, 0] for g in gradients]
    return sum(forms, fmpq(0)) / len(forms)


def check_output_damping(in_outputs: Number = 1, in_parameters: Number = 0, power: int = 1) -> str:
    draw = random.Random(59)
    for classes in (2, 3, 4):
        jacobians = [random_matrix(draw, classes, 5) for _ in range(2)]
        p = [fmpq(2 * (k + 1), classes * (classes + 1)) for k in range(classes)]
        residual = column([p[0] - 1, *p[1:]]).transpose()
        gradients = [residual * jac for jac in jacobians]
        t = random_invertible(draw, 5)
        turned = t if power == 1 else t.inv().transpose()
        values = [
            damped_form(jacobians, gradients, p, in_outputs, in_parameters),
            damped_form(
                [jac * t for jac in jacobians],
                [g * turned for g in gradients],
                p,
                in_outputs,
                in_parameters,
            ),
        ]
        require(values[0] == values[1], "the same value after θ = Tη")
        undamped = damped_form(jacobians, gradients, p, 0, 0)
        require(values[0] < undamped, "damping lowers the value")
    return f"C = 2, 3, 4, λ = {in_outputs}: equal exactly, and below the undamped value"


DAMPING = Claim(
    name="output-space-damping-is-invariant",
    source="beyond the paper",
    statement="(1/N) Σ g_i F_λ⁺ g_iᵀ with F_λ = (1/N) Σ J_iᵀ(Λ_i + λ(I − 11ᵀ/C))J_i, λ > 0, is "
    "invariant",
    status="proved",
    means="exact rational computation",
    argument="Λ_i + λ(I − 11ᵀ/C) is a metric on the outputs alone, positive on 1^⊥, where p − e_y "
    "lies: with a root K_i of it, K_iᵀK_i, F_λ = BᵀB/N, B the stack of K_iJ_i, and g_i = w_iᵀB "
    "with w_i = (K_iᵀ)⁺(p_i − e_y) on the rows of sample i. So the value is Σ w_iᵀP_Bw_i, and J_i "
    "↦ J_iT keeps range(B) and w_i. Damping F + μI adds a metric of the parameters, which changes "
    "with them. The check transforms J and g and forms the value anew.",
    check=check_output_damping,
    mutations={
        "damping of the parameters, F + μI": {"in_outputs": 0, "in_parameters": 1},
        "gradients that transform like vectors": {"power": -1},
        "no damping at all": {"in_outputs": 0},
    },
)


# Statement: the corollary, two saturated networks that no invariant can tell apart.

INPUTS = ((-1,), (0,), (1,))
LOGITS = (fmpq(1), fmpq(-2), fmpq(1, 2))
"""f_1 − f_0 at the three samples, of both networks."""


def interpolating(slopes: tuple[Number, ...], offsets: tuple[Number, ...]) -> Network:
    """A 1-4-2 ReLU network with f_0 = 0 and f_1 = LOGITS at the inputs.

    Hidden units max(a x + c, 0); of all last layers the one of least norm that interpolates.
    """
    first = Linear(matrix([[a] for a in slopes]), column(offsets))
    open_ended = Network((first, Linear(matrix([[0] * len(slopes)] * 2), column([0, 0]))))
    features = matrix([[*_hidden(open_ended, x), fmpq(1)] for x in INPUTS])
    last = pseudo_inverse(features) * column(LOGITS)
    *weights, bias = last.entries()
    return Network((first, Linear(matrix([[fmpq(0)] * len(weights), weights]), column([0, bias]))))


def _hidden(network: Network, x: tuple[Number, ...]) -> list[fmpq]:
    return forward(network, x).units[1].entries()


SMOOTH = ((1, 1, -1, -1), (fmpq(1, 2), fmpq(-1, 2), fmpq(1, 2), fmpq(-1, 2)))
STEEP = ((10**4, -(10**4), 10**4, -(10**4)), (10**4 - 1, 1, 1, 10**4 - 1))
SATURATED = (SMOOTH, STEEP)
"""Slopes a and offsets c of the hidden units of the two networks."""


def check_no_go(
    hidden: tuple[tuple[tuple[Number, ...], tuple[Number, ...]], ...] = SATURATED,
    changed_bias: Number = 0,
    ratio: int = 10**6,
) -> str:
    gentle, steep = (interpolating(*units) for units in hidden)
    steep.layers[-1].bias[1, 0] += changed_bias
    outputs = [[forward(net, x).logits for x in INPUTS] for net in (gentle, steep)]
    require(outputs[0] == outputs[1], "the same logits at all samples")
    d, e = (class_differences(net, INPUTS) for net in (gentle, steep))
    require(d.rank() == e.rank() == len(INPUTS), "full row rank N(C − 1) of both")
    t = connecting(d, e)
    require(t.det() != 0 and d * t == e, "D_2 = D_1 T with invertible T")
    traces = [_fisher_trace(net) for net in (gentle, steep)]
    require(traces[1] > ratio * traces[0], "traces of F that differ by orders of magnitude")
    between = [forward(net, [fmpq(1, 2)]).logits[1, 0] for net in (gentle, steep)]
    require(between[0] != between[1], "different functions between the samples")
    return (
        f"1-4-2, N = 3: logits equal, rank 3 = N(C−1) both, D_2 = D_1 T exactly; tr F_2/tr F_1 = "
        f"{float((traces[1] / traces[0]).mid()):.3g}; f_1(1/2) = "
        + " and ".join(f"{float(Fraction(str(value))):.3g}" for value in between)
    )


def _fisher_trace(network: Network) -> arb:
    """tr F = (1/N) Σ_i p(1−p) ‖D_i‖², C = 2, p the sigmoid of the logit difference."""
    with ctx.workprec(200):
        value = arb(0)
        for x in INPUTS:
            logits, jac = forward(network, x).logits, jacobian(network, x)
            p = 1 / (1 + (arb(logits[0, 0]) - arb(logits[1, 0])).exp())
            difference = select(jac, [1], range(jac.ncols())) - select(jac, [0], range(jac.ncols()))
            value += p * (1 - p) * arb((difference * difference.transpose())[0, 0])
        return value / len(INPUTS)


NO_GO = Claim(
    name="no-go-for-saturated-networks",
    source="beyond the paper",
    statement="full row rank of the reduced factor ⟹ every invariant first-order measure is a "
    "function of outputs and labels alone",
    status="proved",
    means="exact rational computation",
    argument="With full row rank n = N(C − 1) range A = R^n for every such network, so by "
    "`invariants-see-range-and-outputs-only` φ(A, s) is a function of s: of outputs and labels. "
    "In particular two such networks with the same m and the same logits at the samples have "
    "D_2 = D_1T, hence A_2 = A_1T, with an invertible T, and no invariant measure distinguishes "
    "them, however different the landscapes. The check has two rational ReLU networks that "
    "interpolate the same logits at three samples, finds T exactly, and encloses the ratio of "
    "tr F, which is that of the Hessian of the loss: a ReLU network is linear in each single "
    "weight.",
    check=check_no_go,
    mutations={
        "a network that is not saturated": {"hidden": (SMOOTH, ((0, 0, 0, 1), (1, 1, 1, 2)))},
        "other logits": {"changed_bias": 1},
        "the same network twice": {"hidden": (SMOOTH, SMOOTH)},
    },
)

CLAIMS = (CHARACTERISATION, DAMPING, NO_GO)
