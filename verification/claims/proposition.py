"""Proposition 3.1: IGS is invariant under reparametrisations; each hypothesis is needed."""

import itertools
import random
from collections.abc import Sequence

import sympy
from flint import fmpq

from verification.claims.claim import Claim, listed, require
from verification.claims.exact_geometry import (
    Pool,
    counted,
    diagonal,
    fisher,
    form,
    gradients,
    igs,
    random_invertible,
    random_matrix,
    random_pools,
    rational,
    whitened_gram,
)
from verification.claims.normal_form import column, require_zero

EVEN = (fmpq(1, 2), fmpq(1, 2))


def one_logit_pool(derivatives: Sequence[Sequence[object]]) -> Pool:
    """Logits (0, f) with f = 0 at every sample, ∂f_i/∂θ the rows, all labels class 2."""
    rows = [list(row) for row in derivatives]
    return Pool(
        tuple(rational([[0] * len(row), row]) for row in rows),
        (EVEN,) * len(rows),
        (1,) * len(rows),
    )


# The proposition.


def _damped(pool: Pool, damping: fmpq) -> fmpq:
    """IGS with (F + λI)⁻¹ in the place of F⁺."""
    matrix = fisher(pool)
    matrix += diagonal([damping] * matrix.ncols())
    return sum((form(g, matrix.inv(), g) for g in gradients(pool)), fmpq(0)) / len(pool)


def check_proposition(singular: bool = False, damping: int = 0) -> str:
    """IGS by its definition in both parametrisations, for drawn pools and drawn Φ."""
    rng, pools = random.Random(5), random_pools(20)
    for pool in pools:
        size = pool.jacobians[0].ncols()
        back = random_invertible(rng, size).inv()
        back = random_matrix(rng, size, 2) * random_matrix(rng, 2, size) if singular else back
        jacobians = tuple(jacobian * back for jacobian in pool.jacobians)
        moved = Pool(jacobians, pool.probabilities, pool.labels)
        if damping:
            before, after = _damped(pool, fmpq(damping)), _damped(moved, fmpq(damping))
        else:
            before, after = whitened_gram(pool), whitened_gram(moved)
        require(before == after, "g_i F⁺ g_jᵀ is the same in both parametrisations")
    return f"{counted(pools)} with singular F: every g_i F⁺ g_jᵀ equal"


PROPOSITION = Claim(
    name="proposition-3-1",
    source="Proposition 3.1",
    statement=(
        "If f(x_i; T(ϑ)) = f(x_i; ϑ) for all ϑ near θ and ∂T/∂θ = Φ is square and invertible, "
        "IGS(T(θ)) = IGS(θ)"
    ),
    status="proved",
    means="exact rational computation",
    argument=(
        "Differentiate f(x_i; T(ϑ)) = f(x_i; ϑ) at ϑ = θ, f differentiable in θ at both points: "
        "J_i(Tθ)Φ = J_i(θ). The logits are the same numbers, so p_i, Λ_i and M_i are, and A(Tθ) = "
        "A(θ)Φ⁻¹ has the same range. g_i = −(row y_i of A)/√p_y gives g_i F⁺ g_jᵀ = N "
        "P_{iy,jy}/√(p_{i,y} p_{j,y}), P the projector onto range A: it depends on the range and p "
        "alone. So every g_i F⁺ g_jᵀ is invariant, and with them IGS, G and every IGS_b. Nothing "
        "else enters: no compactness, no global inverse. The check computes all g_i F⁺ g_jᵀ by the "
        "definition, pseudo-inverse of a singular F included, before and after drawn Φ; the damped "
        "form (F + λI)⁻¹ is not invariant."
    ),
    check=check_proposition,
    mutations={
        "Φ⁻¹ replaced by a singular matrix": {"singular": True},
        "F⁺ replaced by (F + I)⁻¹": {"damping": 1},
    },
)


# An invertible Φ is needed.


def check_invertible(exponent: int = 3, point: int = 0) -> str:
    """f(θ) = θ and f'(θ') = θ'^3 at 0; then a map that keeps f = ab and is singular at 0."""
    slope = exponent * fmpq(point) ** (exponent - 1)
    before, after = igs(one_logit_pool([[1]])), igs(one_logit_pool([[slope]]))
    require(after < before, "IGS falls where the derivative of the change of parameters is 0")
    a, b = sympy.symbols("a b")
    moved = column([1, a * b])
    require_zero([moved[0] * moved[1] - a * b], "f(T(a, b)) − f(a, b)")
    require(moved.jacobian([a, b]).det() == 0, "Φ is singular")
    origin, image = igs(one_logit_pool([[0, 0]])), igs(one_logit_pool([[0, 1]]))
    require(origin < image, "IGS rises under a map of the parameters with a singular Φ")
    return f"θ'^3 at 0: IGS {before} → {after}; T(a, b) = (1, ab) at 0: IGS {origin} → {image}"


INVERTIBLE = Claim(
    name="proposition-without-invertible-phi",
    source="Proposition 3.1",
    statement="IGS is invariant under smooth bijections with singular derivative at the point",
    status="refuted",
    means="exact rational computation",
    argument=(
        "Φ must be invertible at the point; a smooth bijection is not enough. With ψ = φ⁻¹ and A' "
        "= A ∂ψ, a singular ∂ψ gives range A' ⊂ range A, so IGS can only fall, and it does if a "
        "v_i loses a part. θ = θ'³ has an inverse that is continuous, and ∂ψ = 0 at 0. In the same "
        "way a map T of the parameters with f∘T = f and singular Φ has range A(θ) ⊂ range A(Tθ): "
        "IGS can rise. For f = ab, T(a, b) = (1, ab) keeps f everywhere. The check computes IGS at "
        "both ends."
    ),
    check=check_invertible,
    mutations={
        "θ' in the place of θ'³": {"exponent": 1},
        "at θ' = 1, where the derivative is 3": {"point": 1},
    },
    counterexample=(
        "N = 1, C = 2, m = 1, logits (0, θ) at θ = 0, y = 2: IGS = 1. With θ = θ'³, logits (0, "
        "θ'³) at θ' = 0: F = 0, IGS = 0."
    ),
)


# A neighbourhood is needed.


def check_neighbourhood(shift: int = 1, multiplicity: int = 2) -> str:
    """f = θ²(θ − 1) at 0 and at its image under the translation T(θ) = θ + 1."""
    theta = sympy.Symbol("theta")
    logit, moved = theta**multiplicity * (theta - 1), theta + shift
    require(moved.diff(theta) == 1, "Φ = 1")
    image = moved.subs(theta, 0)
    require(logit.subs(theta, 0) == 0 and logit.subs(theta, image) == 0, "f is 0 at both points")
    slopes = [int(logit.diff(theta).subs(theta, point)) for point in (0, image)]
    values = [igs(one_logit_pool([[slope]])) for slope in slopes]
    require(values[0] != values[1], "IGS differs at the two points")
    return f"f = θ²(θ − 1), 0 ↦ {image}, slopes {listed(slopes)}: IGS {values[0]} → {values[1]}"


NEIGHBOURHOOD = Claim(
    name="proposition-without-neighbourhood",
    source="Proposition 3.1",
    statement=("IGS(T(θ)) = IGS(θ) if Φ is invertible and f(·; T(ϑ)) = f(·; ϑ) at ϑ = θ alone"),
    status="refuted",
    means="exact rational computation",
    argument=(
        "Equal outputs at the point say nothing about J there; the outputs must be kept for all ϑ "
        "near θ. So parameters with the same predictions may have different IGS, even where a "
        "translation, with derivative 1, takes one to the other. The check evaluates a cubic logit "
        "at its two zeros, of which one is double."
    ),
    check=check_neighbourhood,
    mutations={
        "no translation": {"shift": 0},
        "two simple zeros": {"multiplicity": 1},
    },
    counterexample=(
        "N = 1, C = 2, m = 1, logits (0, θ²(θ − 1)), y = 2, T(θ) = θ + 1, Φ = 1: f = 0 at 0 and at "
        "T(0) = 1, with slopes 0 and 1, so IGS is 0 and 1."
    ),
)


# The same number of parameters is needed.


def relu(x: fmpq) -> fmpq:
    return x if x > 0 else fmpq(0)


def relu_pool(incoming: Sequence[int], outgoing: Sequence[int]) -> Pool:
    """f = Σ_k v_k relu(w_k x) at x = 1, derivatives by (w, v)."""
    units = [relu(fmpq(w)) for w in incoming]
    logit = sum((v * u for v, u in zip(outgoing, units, strict=True)), fmpq(0))
    require(logit == 0, "f = 0, so that p = (½, ½)")
    by_incoming = [fmpq(v) * int(w > 0) for v, w in zip(outgoing, incoming, strict=True)]
    return one_logit_pool([[*by_incoming, *units]])


def check_parameters(incoming: int = 1, old: int = -1) -> str:
    """IGS of a dead unit, and with a second unit of outgoing weight 0; drawn columns added."""
    before = igs(relu_pool([old], [0]))
    after = igs(relu_pool([old, incoming], [0, 0]))
    require(before < after, "the new unit raises IGS")
    rng, pools = random.Random(7), random_pools(20)
    for pool in pools:
        wider = tuple(
            rational([a + b for a, b in zip(j.tolist(), extra.tolist(), strict=True)])
            for j, extra in ((j, random_matrix(rng, j.nrows(), 1)) for j in pool.jacobians)
        )
        grown = igs(Pool(wider, pool.probabilities, pool.labels))
        require(grown >= igs(pool), "IGS does not fall when a parameter is added")
    return f"a unit of outgoing weight 0: IGS {before} → {after}; {len(pools)} pools: never lower"


PARAMETERS = Claim(
    name="proposition-without-equal-m",
    source="Proposition 3.1",
    statement="IGS is invariant when the same function is written with more parameters",
    status="refuted",
    means="exact rational computation",
    argument=(
        "Another number of parameters changes the range: [A, B] has range A inside its own, so IGS "
        "of the larger model is never smaller, P₁ ≤ P₂ giving vᵀP₁v ≤ vᵀP₂v, and larger unless the "
        "v_i find nothing new. A hidden unit with outgoing weights 0 leaves the function as it is, "
        "but the derivatives by those weights are its activations. So IGS cannot be compared "
        "between widths. The check computes the smallest network, and adds drawn columns."
    ),
    check=check_parameters,
    mutations={
        "the new unit is dead, too": {"incoming": -1},
        "the old unit is alive": {"old": 1},
    },
    counterexample=(
        "N = 1, C = 2, logits (0, v·relu(wx)), x = 1, w = −1, v = 0, y = 2: F = 0, IGS = 0. With a "
        "second unit w₂ = 1, v₂ = 0 the function is the same, ∂f/∂v₂ = 1 and IGS = 1."
    ),
)


# Scalings of ReLU networks satisfy the hypotheses.

SHAPE = (2, 2, 2, 2)
PATTERNS = 2 ** (SHAPE[1] + SHAPE[2])


def _parameters() -> list[tuple[sympy.Matrix, sympy.Matrix]]:
    """Weights and biases of a 2-2-2-2 network as symbols."""
    return [
        (
            sympy.Matrix(rows, columns, sympy.symbols(f"w{level}_:{rows * columns}")),
            column(sympy.symbols(f"b{level}_:{rows}")),
        )
        for level, (columns, rows) in enumerate(itertools.pairwise(SHAPE))
    ]


def _flat(layers: Sequence[tuple[sympy.Matrix, sympy.Matrix]]) -> list[sympy.Expr]:
    return [entry for weight, bias in layers for entry in [*weight, *bias]]


def _scaled(layers: list, scales: list[sympy.Matrix], divided: int, biases: int) -> list:
    """W_l ↦ D_l W_l D_{l−1}⁻¹, b_l ↦ D_l b_l with diagonal D, D = I at both ends."""
    chain = [sympy.eye(SHAPE[0]), *scales, sympy.eye(SHAPE[-1])]
    return [
        (after * weight * before ** (-divided), after**biases * bias)
        for (weight, bias), (before, after) in zip(layers, itertools.pairwise(chain), strict=True)
    ]


def _logits(layers: list, gates: list[sympy.Matrix]) -> tuple[sympy.Matrix, list]:
    """Logits, and pre-activations of the hidden layers, on one side of every kink."""
    unit, before = column(sympy.symbols(f"x:{SHAPE[0]}")), []
    for (weight, bias), gate in zip(layers[:-1], gates, strict=True):
        before.append(weight * unit + bias)
        unit = gate * before[-1]
    return layers[-1][0] * unit + layers[-1][1], before


def _side_is_kept(scale: sympy.Expr) -> bool:
    """Whether scale · u is on the side of 0 where u is, for every u > 0 and every u < 0."""
    above, below = sympy.Symbol("u", positive=True), sympy.Symbol("u", negative=True)
    return bool((scale * above).is_positive and (scale * below).is_negative)


def check_scalings(divided: int = 1, biases: int = 1, sign: int = 1) -> str:
    """f(Tθ) − f(θ) and J(Tθ)Φ − J(θ) for both slopes at every unit; pre-activations keep signs."""
    layers = _parameters()
    theta = _flat(layers)
    positive = [sympy.symbols(f"d{level}_:{SHAPE[level]}", positive=True) for level in (1, 2)]
    layer = [sympy.symbols("alpha", positive=True), sympy.symbols("beta", positive=True)]
    slopes = sympy.symbols(f"s:{SHAPE[1] + SHAPE[2]}", real=True)
    gates = [sympy.diag(*slopes[: SHAPE[1]]), sympy.diag(*slopes[SHAPE[1] :])]
    kinds = {
        "node": [sympy.diag(*(sign * d for d in row)) for row in positive],
        "layer": [sign * alpha * sympy.eye(2) for alpha in layer],
    }
    zeros = 0
    logits, before = _logits(layers, gates)
    for scales in kinds.values():
        moved = _flat(_scaled(layers, scales, divided, biases))
        image = dict(zip(theta, moved, strict=True))
        changed = logits.subs(image, simultaneous=True)
        zeros += require_zero(changed - logits, "f(Tθ) − f(θ)")
        for scale, hidden in zip(scales, before, strict=True):
            signs = hidden.subs(image, simultaneous=True) - scale * hidden
            zeros += require_zero(signs, "pre-activations are scaled")
            require(all(_side_is_kept(d) for d in scale.diagonal()), "no unit crosses its kink")
        diagonal_ = [sympy.cancel(entry / old) for entry, old in zip(moved, theta, strict=True)]
        require(not any(d.free_symbols & set(theta) for d in diagonal_), "Φ is diagonal, constant")
        require(all(d.is_nonzero for d in diagonal_), "Φ is invertible")
        jacobian = logits.jacobian(theta)
        at_image = jacobian.subs(image, simultaneous=True) * sympy.diag(*diagonal_)
        zeros += require_zero(at_image - jacobian, "J(Tθ)Φ − J(θ)")
    return f"2-2-2-2, free slopes ({PATTERNS} ReLU patterns and leaky ones): {zeros} entries, all 0"


SCALINGS = Claim(
    name="relu-scalings-satisfy-proposition",
    source="Proposition 3.1",
    statement=(
        "Layer and node scalings W_l ↦ D_l W_l D_{l−1}⁻¹, b_l ↦ D_l b_l, D_l > 0 diagonal and "
        "D_0 = D_L = I, satisfy the hypotheses for ReLU networks of L layers"
    ),
    status="proved",
    means="symbolic identity",
    argument=(
        "relu(du) = d relu(u) for d > 0. By induction over the layers each hidden unit is "
        "multiplied by its entry of D_l, which the next weights divide out: f(x; Tθ) = f(x; θ) for "
        "every θ. T is linear and diagonal with entries d, 1/d' or d/d' > 0, so Φ is invertible, "
        "and a layer scaling is the case D_l = α_l I for 0 < l < L: its factors α_l/α_{l−1} of the "
        "weights, α_0 = α_L = 1, have the product 1. Without D_0 = D_L = I the inputs or the "
        "logits would have to be scaled too. f is differentiable off the kinks. u > 0 and "
        "u < 0 are kept by d > 0, so both points lie on the same side; on u = 0 both do as well, "
        "and any convention for the slope there gives J(Tθ)Φ = J(θ) again. The check gives each "
        "unit a free slope s, relu(u) = su: s = 1 and s = 0 are the two sides of the kink, s = "
        "0.01 the lower side of a leaky ReLU."
    ),
    check=check_scalings,
    mutations={
        "the next layer not divided": {"divided": 0},
        "biases not scaled": {"biases": 0},
        "negative scales": {"sign": -1},
    },
)

CLAIMS: tuple[Claim, ...] = (PROPOSITION, INVERTIBLE, NEIGHBOURHOOD, PARAMETERS, SCALINGS)
