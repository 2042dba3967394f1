"""How F, g and g F⁺gᵀ change under a smooth change of parameters θ' = φ(θ), Φ = ∂φ/∂θ."""

import itertools
import random

import sympy
from flint import fmpq_mat

from verification.claims.claim import Claim, require
from verification.claims.exact_geometry import (
    Pool,
    counted,
    fisher,
    form,
    gradients,
    identity,
    pseudo_inverse,
    random_invertible,
    random_matrix,
    random_pools,
    rational,
)
from verification.claims.normal_form import column, require_zero, unit

# Rules (i) and (ii).


def triangular_map(theta: list[sympy.Symbol]) -> sympy.Matrix:
    """A nonlinear bijection of R⁴: each parameter is moved by a polynomial in those before it."""
    a, b, v, w = theta
    return column([2 * a, b + a**2, v - a * b, 3 * w + v**2 + b])


def triangular_inverse(image: list[sympy.Symbol]) -> sympy.Matrix:
    first = image[0] / 2
    second = image[1] - first**2
    third = image[2] + first * second
    return column([first, second, third, (image[3] - third**2 - second) / 3])


def network(theta: sympy.Matrix, x: sympy.Symbol) -> sympy.Matrix:
    """Two tanh units and three logits: f = (v tanh(ax), w tanh(bx), v + w)."""
    a, b, v, w = theta
    return column([v * sympy.tanh(a * x), w * sympy.tanh(b * x), v + w])


def check_rules(inverse: bool = True, linear_part: bool = False) -> str:
    """Differentiate f∘φ⁻¹ in θ' and set θ' = φ(θ), against JΦ⁻¹; then F' and g'."""
    theta, image = list(sympy.symbols("a b v w")), list(sympy.symbols("A B V W"))
    x = sympy.Symbol("x")
    moved = triangular_map(theta)
    at_image = dict(zip(image, moved, strict=True))
    zeros = require_zero(triangular_inverse(image).subs(at_image) - column(theta), "φ⁻¹(φ(θ)) − θ")
    jacobian = network(column(theta), x).jacobian(theta)
    derivative = moved.jacobian(theta)
    derivative = derivative.subs(dict.fromkeys(theta, 0)) if linear_part else derivative
    rule = derivative.inv() if inverse else derivative
    in_image = network(triangular_inverse(image), x).jacobian(image)
    units = {sympy.tanh(weight * x): sympy.Dummy() for weight in theta[:2]}
    jacobian = jacobian.subs(units)
    transformed = in_image.subs(at_image, simultaneous=True).expand().subs(units)
    zeros += require_zero(transformed - jacobian * rule, "∂f'/∂θ' − JΦ⁻¹")
    q, r = sympy.symbols("p0 p1", positive=True)
    p = column([q, r, 1 - q - r])
    metric = sympy.diag(*p) - p * p.T
    direct = transformed.T * metric * transformed
    zeros += require_zero(direct - rule.T * (jacobian.T * metric * jacobian) * rule, "F' − rule")
    for label in range(3):
        u = (p - unit(3, label)).T
        zeros += require_zero(u * transformed - u * jacobian * rule, "g' − gΦ⁻¹")
    return f"C = 3, m = 4, nonlinear φ: {zeros} entries, all 0"


RULES = Claim(
    name="reparametrization-rules",
    source="rules (i), (ii)",
    statement="For θ' = φ(θ), f'(θ') = f(φ⁻¹(θ')): (i) F' = Φ⁻ᵀ F Φ⁻¹, (ii) g' = g Φ⁻¹",
    status="proved",
    means="symbolic identity",
    argument=(
        "Let φ be a bijection of a neighbourhood, differentiable with invertible Φ at θ. The chain "
        "rule gives J' = J·∂φ⁻¹/∂θ' = JΦ⁻¹ at θ' = φ(θ), whether φ is linear or not, since f, and "
        "with it p and Λ, are the same numbers. So g' = (p − e_y)ᵀJ' = gΦ⁻¹ and F' = (1/N) Σ "
        "J'ᵀΛJ' = Φ⁻ᵀFΦ⁻¹. The check takes a network with tanh units and a polynomial bijection "
        "with a closed inverse, differentiates f∘φ⁻¹ itself in θ', and compares every entry."
    ),
    check=check_rules,
    mutations={
        "Φ in the place of Φ⁻¹": {"inverse": False},
        "Φ taken at another point": {"linear_part": True},
    },
)


# The literal rule for F⁺.


def _transformed(matrix: fmpq_mat, map_: fmpq_mat) -> tuple[fmpq_mat, fmpq_mat]:
    """F'⁺ and ΦF⁺Φᵀ."""
    back = map_.inv()
    changed = back.transpose() * matrix * back
    return pseudo_inverse(changed), map_ * pseudo_inverse(matrix) * map_.transpose()


def check_pseudo_inverse(second: int = 0, commuting: bool = True) -> str:
    """The counterexample; then when the rule does hold, over all small maps and vectors."""
    matrix, map_ = rational([[1, 0], [0, second]]), rational([[1, -1], [0, 1]])
    left, right = _transformed(matrix, map_)
    require(left != right, "F'⁺ differs from ΦF⁺Φᵀ")
    cases = holding = 0
    for entries in itertools.product((-1, 0, 1), repeat=6):
        map_, vector = rational([entries[:2], entries[2:4]]), rational([entries[4:]])
        if map_.det() == 0 or vector == rational([[0, 0]]):
            continue
        singular = vector.transpose() * vector
        left, right = _transformed(singular, map_)
        projector = pseudo_inverse(singular) * singular
        gram = (map_.transpose() * map_).inv()
        condition = gram * projector == projector * gram if commuting else map_ == identity(2)
        require((left == right) == condition, "F'⁺ = ΦF⁺Φᵀ exactly if (ΦᵀΦ)⁻¹ commutes with FF⁺")
        cases, holding = cases + 1, holding + int(left == right)
    return f"F = diag(1, 0): differs; 2×2: the rule holds in {holding} of {cases} singular cases"


PSEUDO_INVERSE = Claim(
    name="pseudo-inverse-rule",
    source="rules (i), (ii)",
    statement="F'⁺ = Φ F⁺ Φᵀ for every invertible Φ",
    status="refuted",
    means="exact rational computation",
    argument=(
        "True for invertible F, and for m = 1. In general X = ΦF⁺Φᵀ satisfies F'XF' = F' and XF'X "
        "= X, but F'X = Φ⁻ᵀ FF⁺ Φᵀ need not be symmetric. It is so exactly if (ΦᵀΦ)⁻¹ commutes "
        "with the projector FF⁺ (multiply Φ⁻ᵀFF⁺Φᵀ = ΦFF⁺Φ⁻¹ by Φ⁻¹ from the left and Φ⁻ᵀ from the "
        "right; XF' is the transpose of F'X): for orthogonal Φ always, for other Φ if F has the "
        "right range. What survives is the form on the range, see quadratic-form-invariant. The "
        "check evaluates the counterexample and, over all Φ with entries in {−1, 0, 1} and all F = "
        "aᵀa, a in the same set, that the rule holds exactly under that condition."
    ),
    check=check_pseudo_inverse,
    mutations={
        "F invertible": {"second": 1},
        "claimed only for Φ = I": {"commuting": False},
    },
    counterexample=(
        "m = 2, F = diag(1, 0), Φ = [[1, −1], [0, 1]]: F' = [[1, 1], [1, 1]], F'⁺ = F'/4, but "
        "ΦF⁺Φᵀ = diag(1, 0)."
    ),
)


# The form on the range.


def _changed(pool: Pool, back: fmpq_mat) -> Pool:
    """The pool in new parameters: J_i Φ⁻¹."""
    jacobians = tuple(jacobian * back for jacobian in pool.jacobians)
    return Pool(jacobians, pool.probabilities, pool.labels)


def check_form(outside: bool = False, covariant: bool = True) -> str:
    """All g_i F⁺ g_jᵀ and g_i X g_jᵀ for other generalised inverses X, before and after Φ."""
    rng = random.Random(3)
    pools, equal = random_pools(15), 0
    for pool in pools:
        matrix, rows = fisher(pool), gradients(pool)
        size = matrix.ncols()
        rows = [rational([[1, *[0] * (size - 1)]])] if outside else rows
        inverse = pseudo_inverse(matrix)
        back = random_invertible(rng, size).inv()
        other = pseudo_inverse(fisher(_changed(pool, back)))
        free = random_matrix(rng, size, size)
        general = inverse + free - inverse * matrix * free * matrix * inverse
        require(matrix * general * matrix == matrix, "X is a generalised inverse of F")
        for g, h in itertools.product(rows, repeat=2):
            value = form(g, inverse, h)
            images = (g * back, h * back) if covariant else (g, h)
            require(form(images[0], other, images[1]) == value, "g'F'⁺h'ᵀ = gF⁺hᵀ")
            require(form(g, general, h) == value, "gXhᵀ = gF⁺hᵀ")
            equal += 2
    return f"{counted(pools)} of rank 3, m = 5: {equal} equal forms"


FORM = Claim(
    name="quadratic-form-invariant",
    source="rules (i), (ii)",
    statement="g' F'⁺ h'ᵀ = g F⁺ hᵀ for all g, h in the span of F and every invertible Φ",
    status="proved",
    means="exact rational computation",
    argument=(
        "Let g = aF, h = bF and X any generalised inverse, FXF = F: gXhᵀ = aFXFbᵀ = aFbᵀ does not "
        "depend on X. Now ΦF⁺Φᵀ is a generalised inverse of F' = Φ⁻ᵀFΦ⁻¹, for F'ΦF⁺ΦᵀF' = "
        "Φ⁻ᵀFF⁺FΦ⁻¹ = F', and g' = gΦ⁻¹ = aΦᵀF' lies in the span of F', as h' does. So g'F'⁺h'ᵀ = "
        "g'ΦF⁺Φᵀh'ᵀ = gF⁺hᵀ. Outside the span it is false in general. The check draws exact pools "
        "with singular F, changes the parameters, forms F'⁺ anew by its own full-rank "
        "factorisation, and compares all pairs; and again with a drawn X in the place of F⁺."
    ),
    check=check_form,
    mutations={
        "g outside the span": {"outside": True},
        "gradients not transformed": {"covariant": False},
    },
)

CLAIMS: tuple[Claim, ...] = (RULES, PSEUDO_INVERSE, FORM)
