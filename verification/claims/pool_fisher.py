"""A Fisher matrix on a pool of inputs that contains the labelled ones, and others too.

Probabilities are squares of rationals, so that the whitened factor A, rows √p_c (J_c − Σ p_k J_k),
and the whitened residuals v = √p − e_y/√p_y are rational.
"""

import random
from dataclasses import dataclass, replace

import sympy
from flint import fmpq, fmpq_mat

from verification.claims.claim import Claim, require
from verification.claims.linear_algebra import (
    Number,
    column,
    diagonal,
    dot,
    identity,
    matrix,
    projector,
    pseudo_inverse,
    random_invertible,
    random_matrix,
    random_of_rank,
    stack,
    total,
    zeros,
)
from verification.claims.rank import output_metric

ROOTS = tuple(
    tuple(fmpq(a, d) for a in numerators)
    for numerators, d in (
        ((1, 2, 2), 3),
        ((2, 3, 6), 7),
        ((1, 4, 8), 9),
        ((4, 4, 7), 9),
        ((2, 6, 9), 11),
        ((3, 4, 12), 13),
    )
)
"""Square roots of class probabilities: 1 = Σ r_c²."""


@dataclass(frozen=True)
class Pooled:
    """Jacobians and √p of all inputs of the pool; labels of its first N."""

    jacobians: tuple[fmpq_mat, ...]
    roots: tuple[tuple[fmpq, ...], ...]
    labels: tuple[int, ...]

    @property
    def scale(self) -> fmpq:
        """N_F/N."""
        return fmpq(len(self.jacobians), len(self.labels))

    def probabilities(self, i: int) -> list[fmpq]:
        return [r * r for r in self.roots[i]]

    def residual(self, i: int) -> fmpq_mat:
        """p − e_y of a labelled sample."""
        p = self.probabilities(i)
        p[self.labels[i]] -= 1
        return column(p)

    def gradients(self) -> list[fmpq_mat]:
        """g_i as rows."""
        return [self.residual(i).transpose() * self.jacobians[i] for i in range(len(self.labels))]

    def fisher(self) -> fmpq_mat:
        """F = (1/N_F) Σ J_jᵀΛ_jJ_j over the pool: no label in it."""
        terms = [
            jac.transpose() * output_metric(self.probabilities(j)) * jac
            for j, jac in enumerate(self.jacobians)
        ]
        return total(terms) * fmpq(1, len(terms))

    def factor(self) -> fmpq_mat:
        """A, N_F C × m."""
        return stack(self._whitened_rows(j) for j in range(len(self.jacobians)))

    def _whitened_rows(self, j: int) -> fmpq_mat:
        root, p = self.roots[j], self.probabilities(j)
        centre = identity(len(p)) - matrix([p] * len(p))
        return diagonal(root) * centre * self.jacobians[j]

    def whitened_residual(self, i: int) -> fmpq_mat:
        """v_i ∈ R^{N_F C}, 0 outside the rows of sample i."""
        root, y = self.roots[i], self.labels[i]
        v = zeros(sum(len(r) for r in self.roots), 1)
        for c, r in enumerate(root):
            v[i * len(root) + c, 0] = r - (1 / r if c == y else 0)
        return v

    def energies(self) -> list[fmpq]:
        """v_iᵀPv_i with P in the data space of the pool."""
        p = projector(self.factor())
        vectors = [self.whitened_residual(i) for i in range(len(self.labels))]
        return [dot(v, p * v) for v in vectors]

    def ceiling(self) -> fmpq:
        """(N_F/N) Σ expm1(l_i) = (N_F/N) Σ (1/p_y − 1)."""
        labelled = zip(self.labels, self.roots, strict=False)
        return self.scale * sum((1 / root[y] ** 2 - 1 for y, root in labelled), fmpq(0))

    def reparametrised(self, t: fmpq_mat) -> "Pooled":
        return replace(self, jacobians=tuple(jac * t for jac in self.jacobians))


def mean_form(gradients: list[fmpq_mat], fisher: fmpq_mat) -> fmpq:
    """(1/N) Σ g_i F⁺ g_iᵀ."""
    inverse = pseudo_inverse(fisher)
    forms = [(g * inverse * g.transpose())[0, 0] for g in gradients]
    return sum(forms, fmpq(0)) / len(forms)


def random_pooled(seed: int, parameters: int = 6, labelled: int = 2, inputs: int = 5) -> Pooled:
    draw = random.Random(seed)
    jacobians = tuple(random_matrix(draw, 3, parameters) for _ in range(inputs))
    labels = tuple(draw.randrange(3) for _ in range(labelled))
    return Pooled(jacobians, ROOTS[:inputs], labels)


# Statement: IGS with a pool, and F needs no labels.


def check_form(with_scale: bool = True, pool_starts_at: int = 0) -> str:
    values = []
    for seed in range(3):
        data = random_pooled(seed)
        scale = data.scale if with_scale else fmpq(1)
        pool = replace(
            data,
            jacobians=data.jacobians[pool_starts_at:],
            roots=data.roots[pool_starts_at:],
        )
        value = mean_form(data.gradients(), pool.fisher())
        require(value == scale * sum(data.energies(), fmpq(0)), "IGS = (N_F/N) Σ v_iᵀPv_i")
        values.append(value)
    for classes in (2, 3, 4):
        require(_label_mean(classes) == sympy.zeros(classes), "E_y (p − e_y)(p − e_y)ᵀ = Λ")
    return f"N_F = 5, N = 2, C = 3: {len(values)} networks, equal exactly; Λ symbolic for C ≤ 4"


def _label_mean(classes: int) -> sympy.Matrix:
    """Σ_y p_y (p − e_y)(p − e_y)ᵀ − Λ, p_last = 1 − the others."""
    p = sympy.Matrix(sympy.symbols(f"p1:{classes}"))
    p = p.col_join(sympy.Matrix([1 - sum(p)]))
    unit = sympy.eye(classes)
    outer = [p[y] * (p - unit[:, y]) * (p - unit[:, y]).T for y in range(classes)]
    return (sum(outer, sympy.zeros(classes)) - (sympy.diag(*p) - p * p.T)).expand()


FORM = Claim(
    name="pool-fisher-needs-no-labels",
    source="beyond the paper",
    statement="F on a pool of N_F inputs ⊇ the N labelled ones: (1/N) Σ g_i F⁺ g_iᵀ = "
    "(N_F/N) Σ v_iᵀPv_i, P in the pool",
    status="proved",
    means="exact rational computation",
    argument="F = (1/N_F) Σ_j J_jᵀΛ_jJ_j = AᵀA/N_F has no label in it: Λ = E_{y∼p} "
    "(p − e_y)(p − e_y)ᵀ averages over the model's own labels. Each labelled sample has rows in "
    "A, so g_i = v_iᵀA with v_i = √p − e_y/√p_y there and 0 elsewhere, and g_i F⁺ g_iᵀ = N_F v_iᵀ "
    "A(AᵀA)⁺Aᵀ v_i = N_F v_iᵀPv_i. The check takes probabilities that are rational squares and "
    "compares both sides exactly.",
    check=check_form,
    mutations={
        "the factor N_F/N dropped": {"with_scale": False},
        "a labelled input not in the pool": {"pool_starts_at": 1},
    },
)


# Statement: its ceiling.


def check_ceiling(with_scale: bool = True, shared_jacobian: bool = False) -> str:
    gaps = []
    for seed, parameters in ((0, 6), (1, 6), (2, 14)):
        data = random_pooled(seed, parameters)
        if shared_jacobian and parameters == 14:
            data = replace(data, jacobians=(data.jacobians[0],) * 5)
        value = mean_form(data.gradients(), data.fisher())
        ceiling = data.ceiling() if with_scale else data.ceiling() / data.scale
        require(value <= ceiling, "IGS ≤ (N_F/N) Σ expm1(l_i)")
        gaps.append(ceiling - value)
    require(gaps[0] > 0 and gaps[1] > 0, "below the ceiling with N_F(C − 1) > m")
    require(gaps[2] == 0, "at the ceiling with full row rank")
    return "m = 6 < N_F(C−1) = 10: below; m = 14: full row rank and equal, exactly"


CEILING = Claim(
    name="ceiling-with-a-pool",
    source="beyond the paper",
    statement="IGS on a pool ≤ (N_F/N) Σ_i expm1(l_i), with equality iff every v_i ∈ range A",
    status="proved",
    means="exact rational computation",
    argument="v_iᵀPv_i ≤ ‖v_i‖² = Σ_c p_c − 2 + 1/p_y = 1/p_y − 1 = expm1(l_i), with equality iff "
    "Pv_i = v_i; times N_F/N. The rank of A is at most m while its reduced rows number N_F(C − 1), "
    "so with N_F(C − 1) > m full row rank does not force the equality. It does not exclude it "
    "either: range A may still have the N vectors v_i, and then IGS is a function of the losses "
    "alone, pool or not. The check has a value below the ceiling and one at it, exactly.",
    check=check_ceiling,
    mutations={
        "the ceiling of the labelled samples alone": {"with_scale": False},
        "m = 14, but the rows of the inputs are dependent": {"shared_jacobian": True},
    },
)


# Statement: invariance, as long as the gradients are those of pool points.


def check_invariance(foreign: bool = False, singular: bool = False) -> str:
    count = 0
    for seed in range(3):
        data, draw = random_pooled(seed, inputs=4, parameters=9), random.Random(seed)
        gradients = data.gradients()
        if foreign:
            gradients = [random_matrix(draw, 1, 9) for _ in gradients]
        before = mean_form(gradients, data.fisher())
        for _ in range(2):
            t = random_invertible(draw, 9)
            if singular:
                t = random_of_rank(draw, 9, 9, 5)
            moved = data.reparametrised(t)
            after = mean_form([g * t for g in gradients], moved.fisher())
            require(after == before, "the same value after θ = Tη")
            count += 1
    return f"{count} random T, m = 9, rank F = {data.fisher().rank()}: equal exactly"


INVARIANCE = Claim(
    name="pool-igs-is-invariant",
    source="beyond the paper",
    statement="IGS on a pool does not change under a reparametrisation θ = φ(η), T = ∂φ/∂η "
    "invertible",
    status="proved",
    means="exact rational computation",
    argument="Outputs stay, so p and v_i do; J_j becomes J_jT, A becomes AT, and range(AT) = "
    "range(A) for invertible T: P and (N_F/N) Σ v_iᵀPv_i (`pool-fisher-needs-no-labels`) stay. It "
    "takes that the gradients are those of inputs of the pool. The check transforms F and g and "
    "forms g F⁺ gᵀ anew, with F singular.",
    check=check_invariance,
    mutations={
        "gradients of other inputs": {"foreign": True},
        "a singular T": {"singular": True},
    },
)


# Statement: the form is invariant for any gradient. Refuted.


def check_foreign_gradient(test_input: tuple[Number, Number] = (1, 1), shear: int = 1) -> str:
    """f = (0, θ·x) at θ = 0, p = 1/2: the pool has x = (1, 0), the gradient comes from x."""
    half = [fmpq(1, 2), fmpq(1, 2)]
    jac = matrix([[0, 0], [1, 0]])
    fisher = jac.transpose() * output_metric(half) * jac
    gradient = matrix([list(test_input)]) * fmpq(-1, 2)
    before = mean_form([gradient], fisher)
    t = matrix([[1, shear], [0, 1]])
    after = mean_form([gradient * t], t.transpose() * fisher * t)
    require(before != after, "the value changes")
    outside = (gradient - gradient * projector(fisher)).transpose()
    return (
        f"g F⁺ gᵀ = {before} before, {after} after; outside the span |g|² = {dot(outside, outside)}"
    )


FOREIGN = Claim(
    name="gradients-outside-the-pool",
    source="beyond the paper",
    statement="g F⁺ gᵀ is invariant for the gradient g of any input, in the pool or not",
    status="refuted",
    means="exact rational computation",
    argument="g F⁺ gᵀ = max_x {2g·x − xᵀFx} only for g in the row span of A, where it is "
    "invariant; outside of it that maximum is infinite, and F⁺ drops the part of g that is "
    "orthogonal to the span in the coordinates of the day. Test gradients and TIC with F are of "
    "this kind: the part outside has to be reported. A gradient on another input that lies in the "
    "span is harmless. The check computes both values exactly.",
    check=check_foreign_gradient,
    mutations={
        "a test input in the span of the pool": {"test_input": (3, 0)},
        "no shear": {"shear": 0},
    },
    counterexample="f = (0, θ·x) at θ = 0, pool x = (1, 0), gradient of x = (1, 1) with label 1: "
    "g F⁺ gᵀ = 1; after θ = Tη with T = [[1, 1], [0, 1]] it is 9/4.",
)

CLAIMS = (FORM, CEILING, INVARIANCE, FOREIGN)
