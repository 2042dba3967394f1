"""What is done to the Fisher matrix in practice, and what it does to invariance.

The examples are logistic regressions f = (0, θ·x) on x_1 = (1, 0), x_2 = (0, 1), both with label 1,
at the θ for which p_1 = 1/2 and 1/10: F = diag(1/8, 9/200), IGS = expm1(l_1) + expm1(l_2) = 1 + 9.
A reparametrisation θ = Tη turns x into Tᵀx and leaves the outputs.
"""

import random
from collections.abc import Callable, Sequence

from flint import fmpq, fmpq_mat

from verification.claims.claim import Claim, listed, require
from verification.claims.invariants import connecting
from verification.claims.linear_algebra import (
    Number,
    column,
    diagonal,
    dot,
    identity,
    matrix,
    pseudo_inverse,
    random_invertible,
    random_of_rank,
    total,
)
from verification.claims.pool_fisher import mean_form
from verification.claims.rank import output_metric
from verification.claims.rational_network import (
    Linear,
    Network,
    backward,
    class_differences,
    forward,
    jacobian,
)

Measure = Callable[[Sequence[fmpq_mat], fmpq_mat], fmpq]
"""From the g_i, rows, and F to a number."""
Rows = Sequence[Sequence[Number]]

PROBABILITIES = (fmpq(1, 2), fmpq(1, 10))
"""p of the label of each of the two samples."""
TENTH, THOUSANDTH, CUT_OFF = (fmpq(1, 10**k) for k in (1, 3, 5))
UNIT: Rows = ((1, 0), (0, 1))
TWICE: Rows = ((2, 0), (0, 2))
SHEAR: Rows = ((1, 1), (0, 1))
ROTATION: Rows = ((fmpq(3, 5), fmpq(-4, 5)), (fmpq(4, 5), fmpq(3, 5)))


def example(t: Rows) -> tuple[list[fmpq_mat], fmpq_mat]:
    """g_i and F of the example in the parameters η, θ = Tη."""
    gradients = [
        matrix([x]) * (p - 1) * matrix(t) for x, p in zip(UNIT, PROBABILITIES, strict=True)
    ]
    weights = [p / (1 - p) for p in PROBABILITIES]  # p(1 − p)xᵀx = gᵀg p/(1 − p)
    outer = [g.transpose() * g * w for g, w in zip(gradients, weights, strict=True)]
    return gradients, total(outer) * fmpq(1, len(outer))


def require_change(measure: Measure, t: Rows) -> str:
    """The values in θ and in η, which must differ although IGS does not."""
    exact = [mean_form(*example(u)) for u in (UNIT, t)]
    require(exact[0] == exact[1] == 10, "IGS itself is 10 in both")
    before, after = (measure(*example(u)) for u in (UNIT, t))
    require(before != after, "the value changes")
    rows = [f"[{listed(row)}]" for row in t]
    return f"{before} in θ, {after} in η, T = [{listed(rows)}]; IGS = 10 in both"


def _with_inverse_eigenvalues(keep: Callable[[fmpq, list[fmpq]], bool]) -> Measure:
    """(1/N) Σ g_i F_k⁺ g_iᵀ, F_k the eigenpairs kept, for diagonal F with distinct eigenvalues."""

    def measure(gradients: Sequence[fmpq_mat], fisher: fmpq_mat) -> fmpq:
        values = [fisher[j, j] for j in range(fisher.nrows())]
        require(fisher == diagonal(values) and len(set(values)) == len(values), "a plain spectrum")
        kept = [v if keep(v, values) else fmpq(0) for v in values]
        return mean_form(list(gradients), diagonal(kept))

    return measure


# Statement: truncation to the k leading eigenpairs.


def check_top(count: int = 1, t: Rows = ((1, 0), (0, 3))) -> str:
    leading = _with_inverse_eigenvalues(lambda v, values: v in sorted(values)[-count:])
    return require_change(leading, t)


TOP = Claim(
    name="top-eigenpairs-are-not-invariant",
    source="beyond the paper",
    statement="(1/N) Σ g_i F_k⁺ g_iᵀ with the k leading eigenpairs of F is not invariant",
    status="proved",
    means="exact rational computation",
    argument="Which directions lead depends on the units of the parameters: F = diag(1/8, 9/200) "
    "becomes diag(1/8, 81/200) when the second one is counted in units three times as large, θ_2 = "
    "3η_2, and the leading direction is the other one. By `invariants-see-range-and-outputs-only` "
    "a measure that changes between A and AT is no function of the range. All eigenpairs (k = rank "
    "F) give IGS, and the same T for all parameters, T = cI, changes nothing. The check has both "
    "values exactly.",
    check=check_top,
    mutations={
        "all eigenpairs": {"count": 2},
        "the same factor for all parameters": {"t": TWICE},
    },
)


# Statement: a cut at a fraction of the largest eigenvalue.


def check_cut(threshold: Number = CUT_OFF, smallest: Number = THOUSANDTH) -> str:
    cut = _with_inverse_eigenvalues(lambda v, values: v > threshold * max(values))
    return require_change(cut, ((1, 0), (0, smallest)))


CUT = Claim(
    name="cut-off-pseudo-inverse-is-not-invariant",
    source="beyond the paper",
    statement="F⁺ with eigenvalues below τ λ_max set to 0 gives no invariant measure, τ = 10^−5",
    status="proved",
    means="exact rational computation",
    argument="Eigenvalues of F are those of TᵀFT only for orthogonal T: counting a parameter in "
    "units 1000 times smaller, θ_2 = η_2/1000, multiplies its eigenvalue by 10^−6 and drops it "
    "below the cut. With τ = 0 the pseudo-inverse is exact and the value is IGS. The check has "
    "both values exactly.",
    check=check_cut,
    mutations={
        "no threshold": {"threshold": 0},
        "a factor that does not reach the threshold": {"smallest": fmpq(1, 10)},
    },
)


# Statement: damping.


def check_damping(damping: Number = TENTH, t: Rows = TWICE) -> str:
    def damped(gradients: Sequence[fmpq_mat], fisher: fmpq_mat) -> fmpq:
        return mean_form(list(gradients), fisher + identity(fisher.nrows()) * damping)

    return require_change(damped, t)


DAMPING = Claim(
    name="damped-fisher-is-not-invariant",
    source="beyond the paper",
    statement="(1/N) Σ g_i (F + λI)⁻¹ g_iᵀ, λ > 0, is not invariant",
    status="proved",
    means="exact rational computation",
    argument="gT(TᵀFT + λI)⁻¹Tᵀgᵀ = g(F + λ(TTᵀ)⁻¹)⁻¹gᵀ: the damping of the new parameters is "
    "another one, equal to the old only if TTᵀ = I. T = 2I, a change of units, is enough. Damping "
    "in output space keeps the invariance (`output-space-damping-is-invariant`).",
    check=check_damping,
    mutations={"no damping": {"damping": 0}, "a rotation": {"t": ROTATION}},
)


# Statement: the diagonal of F.


def check_diagonal(t: Rows = SHEAR, whole: bool = False) -> str:
    def of_diagonal(gradients: Sequence[fmpq_mat], fisher: fmpq_mat) -> fmpq:
        kept = fisher if whole else diagonal([fisher[j, j] for j in range(fisher.nrows())])
        return mean_form(list(gradients), kept)

    return require_change(of_diagonal, t)


DIAGONAL = Claim(
    name="diagonal-fisher-is-not-invariant",
    source="beyond the paper",
    statement="(1/N) Σ g_i diag(F)⁻¹ g_iᵀ is not invariant, but under diagonal T it is",
    status="proved",
    means="exact rational computation",
    argument="diag(TᵀFT) = T diag(F) T for diagonal T, so that node and layer scalings leave the "
    "value as it is. A shear mixes two parameters: F = diag(1/8, 9/200) becomes a full matrix, "
    "whose diagonal (1/8, 1/8 + 9/200) knows nothing of the correlation. The check has both "
    "values exactly.",
    check=check_diagonal,
    mutations={
        "a diagonal T": {"t": ((2, 0), (0, 3))},
        "all of F": {"whole": True},
    },
)


# Statement: Kronecker-factored F.

INPUTS: Rows = ((1,), (2,))
LABELS = (0, 0)


def two_unit_network(weight: Rows, bias: Sequence[Number], out: Sequence[Number]) -> Network:
    """1-2-2, f_0 = 0 and f_1 = out · (h_1, h_2, 1)."""
    last = Linear(matrix([[0, 0], list(out[:2])]), column([0, out[2]]))
    return Network((Linear(matrix(weight), column(bias)), last))


SPLIT = two_unit_network([[1], [1]], [0, -1], [1, -1, -1])
"""max(x, 0) − max(x − 1, 0) − 1: its second unit is off at x = 1."""
SPLIT_SCALED = two_unit_network([[3], [fmpq(1, 2)]], [0, fmpq(-1, 2)], [fmpq(1, 3), -2, -1])
"""The same function with the units scaled by 3 and 1/2."""
JOINT = two_unit_network([[1], [1]], [0, 1], [1, -1, 1])
"""max(x, 0) − max(x + 1, 0) + 1: both units are on at both inputs."""


def kronecker_form(network: Network) -> fmpq:
    """(1/N) Σ g_i K⁺ g_iᵀ, K = ⊕_l E[aaᵀ] ⊗ E[δᵀΛδ], a the inputs of layer l with a 1 for its bias.

    g_i is δ_gᵀ aᵀ in layer l, so its form is Σ_l (aᵀ E[aaᵀ]⁺ a)(δ_g E[δᵀΛδ]⁺ δ_gᵀ).
    """
    passes = [forward(network, x) for x in INPUTS]
    residual = matrix([[fmpq(1, 2) - int(c == LABELS[0]) for c in range(2)]])
    value = fmpq(0)
    for level in range(len(network.layers)):
        inputs = [column([*seen.units[level].entries(), 1]) for seen in passes]
        deltas = [backward(network, seen)[level] for seen in passes]
        metric = output_metric([fmpq(1, 2)] * 2)
        a = pseudo_inverse(_mean([u * u.transpose() for u in inputs]))
        g = pseudo_inverse(_mean([d.transpose() * metric * d for d in deltas]))
        for u, d in zip(inputs, deltas, strict=True):
            turned = (residual * d).transpose()
            value += dot(u, a * u) * dot(turned, g * turned) / len(passes)
    return value


def exact_form(network: Network) -> fmpq:
    """IGS at p = 1/2."""
    jacobians = [jacobian(network, x) for x in INPUTS]
    metric = output_metric([fmpq(1, 2)] * 2)
    residual = matrix([[fmpq(1, 2) - int(c == LABELS[0]) for c in range(2)]])
    fisher = _mean([jac.transpose() * metric * jac for jac in jacobians])
    return mean_form([residual * jac for jac in jacobians], fisher)


def _mean(parts: Sequence[fmpq_mat]) -> fmpq_mat:
    return total(parts) * fmpq(1, len(parts))


def check_kronecker(
    measure: Callable[[Network], fmpq] = kronecker_form, second: Network = JOINT
) -> str:
    networks = (SPLIT, second)
    for network in networks:
        logits = [forward(network, x).logits.entries() for x in INPUTS]
        require(all(f == 0 for pair in logits for f in pair), "all logits 0, p = 1/2")
    d, e = (class_differences(network, INPUTS) for network in networks)
    t = connecting(d, e)
    require(t.det() != 0 and d * t == e, "D_2 = D_1 T with invertible T")
    require(exact_form(SPLIT) == exact_form(second), "the same IGS")
    before, after = (measure(network) for network in networks)
    require(before != after, "the value changes")
    return f"1-2-2 networks with D_2 = D_1 T: K-FAC {before} and {after}, IGS {exact_form(SPLIT)}"


KRONECKER = Claim(
    name="kronecker-fisher-is-not-invariant",
    source="beyond the paper",
    statement="(1/N) Σ g_i K⁺ g_iᵀ with Kronecker factors K = ⊕_l E[aaᵀ] ⊗ E[δᵀΛδ] is not a "
    "function of (range A, outputs, labels)",
    status="proved",
    means="exact rational computation",
    argument="K-FAC is defined by the layers of a network, and it transforms as it should under "
    "T = ⊕_l B_l ⊗ C_l, changes of basis of inputs and outputs of the layers, node scaling "
    "included. Under other T it does not: the check has two networks of one architecture with the "
    "same outputs and labels whose class differences satisfy D_2 = D_1T with an invertible T. A "
    "measure that is invariant must agree on them (`invariants-see-range-and-outputs-only`); K-FAC "
    "differs, since it drops the covariance between layers and between a and δ. EKFAC is another "
    "estimate, not examined here.",
    check=check_kronecker,
    mutations={
        "units scaled, a T of Kronecker form": {"second": SPLIT_SCALED},
        "all of F": {"measure": exact_form},
    },
)


# Statement: the empirical Fisher.


def empirical_form(gradients: Sequence[fmpq_mat], damping: Number = 0) -> fmpq:
    """(1/N) Σ g_i (F_emp + λI)⁺ g_iᵀ, F_emp = (1/N) Σ g_iᵀg_i."""
    second_moment = _mean([g.transpose() * g for g in gradients])
    return mean_form(list(gradients), second_moment + identity(gradients[0].ncols()) * damping)


def check_empirical(damping: Number = 0, rank_of_t: int = 5) -> str:
    draw = random.Random(61)
    ranks = []
    for rank in (1, 3, 4, 5):
        rows = random_of_rank(draw, 6, 5, rank)
        t = random_invertible(draw, 5) if rank_of_t == 5 else random_of_rank(draw, 5, 5, rank_of_t)
        for gradients in (rows, rows * t):
            value = empirical_form([matrix([row]) for row in gradients.tolist()], damping)
            require(value == rank, "the value is the rank of the gradients")
        ranks.append(rank)
    return f"N = 6, m = 5: the values are the ranks {listed(ranks)}, before and after a random T"


EMPIRICAL = Claim(
    name="empirical-fisher-gives-a-rank",
    source="beyond the paper",
    statement="(1/N) Σ g_i F_emp⁺ g_iᵀ = rank [g_1; …; g_N] with F_emp = (1/N) Σ g_iᵀg_i: "
    "invariant, and it knows nothing else",
    status="proved with a correction",
    means="exact rational computation",
    argument="With G the N × m matrix of the g_i, F_emp = GᵀG/N and (1/N) Σ g_i F_emp⁺ g_iᵀ = "
    "tr(G(GᵀG)⁺Gᵀ), the trace of the projector onto range(G): rank G. **Correction.** The "
    "sentence corrected is 'the form with the empirical Fisher matrix in the place of F is not "
    "invariant'. F_emp ↦ TᵀF_empT transforms like "
    "a metric and all g_i lie in its span, so the undamped form is invariant; but it is an "
    "integer, N for independent gradients, whatever their size. What is not invariant is the "
    "damped form (`damped-empirical-fisher-is-not-invariant`) and every other one that "
    "damps or truncates.",
    check=check_empirical,
    mutations={
        "damped": {"damping": 1},
        "a singular T": {"rank_of_t": 2},
    },
)


def check_empirical_damping(damping: Number = TENTH, t: Rows = TWICE) -> str:
    def damped(gradients: Sequence[fmpq_mat], _: fmpq_mat) -> fmpq:
        return empirical_form(gradients, damping)

    return require_change(damped, t)


EMPIRICAL_DAMPING = Claim(
    name="damped-empirical-fisher-is-not-invariant",
    source="beyond the paper",
    statement="(1/N) Σ g_i (F_emp + λI)⁻¹ g_iᵀ, λ > 0, is not invariant",
    status="proved",
    means="exact rational computation",
    argument="As for F itself: the damping of the new parameters is λ(TTᵀ)⁻¹ in the old ones. "
    "Without damping the form is the rank of the gradients and invariant. The check has both "
    "values exactly.",
    check=check_empirical_damping,
    mutations={"no damping": {"damping": 0}, "a rotation": {"t": ROTATION}},
)

CLAIMS = (TOP, CUT, DAMPING, DIAGONAL, KRONECKER, EMPIRICAL, EMPIRICAL_DAMPING)
