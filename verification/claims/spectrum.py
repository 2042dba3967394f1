"""Appendix A: the outliers of F, how many they are and where, and what stands beside them."""

import math
import random
from collections.abc import Sequence

import sympy
from flint import arb, ctx, fmpq, fmpq_mat

from verification.claims.claim import Claim, require
from verification.claims.exact_geometry import (
    Pool,
    fisher,
    random_matrix,
    rational,
    row,
    stacked,
)
from verification.claims.linear_algebra import total
from verification.claims.normal_form import column, require_zero

EIGENVALUE_BITS = 300

# Balanced predictions: p_c = ε for every wrong class.


def check_decomposition(skew: int = 0, centring: int = 1) -> str:
    """Both sides as polynomials in ε and in z = J u for a direction u; the label is 0."""
    zeros = 0
    for classes in (2, 3, 4):
        wrong = classes - 1
        epsilon = sympy.Symbol("epsilon", positive=True)
        z = sympy.symbols(f"z:{classes}", real=True)
        p = [1 - wrong * epsilon, *[epsilon] * wrong]
        p[-1] -= skew * epsilon / 2
        p[1] += skew * epsilon / 2  # the same class again for C = 2, where all is balanced
        metric = sympy.diag(*p) - column(p) * column(p).T
        d = [value - z[0] for value in z[1:]]
        s = sum(d)
        outlying = epsilon * p[0] / wrong * s**2
        secondary = epsilon * sum((value - centring * s / wrong) ** 2 for value in d)
        energy = (column(z).T * metric * column(z))[0, 0]
        zeros += require_zero([energy - outlying - secondary], "zᵀΛz − both terms")
        against_label = column([wrong, *[-1] * wrong])
        zeros += require_zero(
            metric * against_label - classes * epsilon * p[0] * against_label, "Λ − C ε p_y"
        )
        for c in range(2, classes):
            among_wrong = column([0, 1, *(-int(k == c) for k in range(2, classes))])
            zeros += require_zero(metric * among_wrong - epsilon * among_wrong, "Λ − ε")
    return f"C = 2, 3, 4: {zeros} polynomials, all 0"


DECOMPOSITION = Claim(
    name="appendix-a-decomposition",
    source="Appendix A",
    statement=(
        "p_c = ε_i for all c ≠ y_i ⟹ F = (1/N) Σ_i [ε_i p_y/(C−1) s_iᵀs_i + ε_i Σ_{c≠y} (d_ic − "
        "s_i/(C−1))ᵀ(d_ic − s_i/(C−1))], d_ic = J_ic − J_iy, s_i = Σ_c d_ic"
    ),
    status="proved",
    means="symbolic identity",
    argument=(
        "Λ1 = 0, so JᵀΛJ depends on the differences alone: JᵀΛJ = Σ_{c≠y} p_c d_cᵀd_c − (Σ_{c≠y} "
        "p_c d_c)ᵀ(Σ_{c≠y} p_c d_c) = ε Σ_{c≠y} d_cᵀd_c − ε² sᵀs. About their mean, Σ d_cᵀd_c = Σ "
        "(d_c − s/(C−1))ᵀ(·) + sᵀs/(C−1), and ε/(C−1) − ε² = ε p_y/(C−1) since p_y = 1 − (C−1)ε. "
        "In other words Λ has the eigenvalue C ε p_y, against the label, and ε, C − 2 times, among "
        "the wrong classes: of the two terms the first outweighs the second, per unit of length in "
        "the logits, only where p_y > 1/C. ε may differ between samples; that predictions are "
        "balanced may not be dropped. The check expands both sides in a direction u as polynomials "
        "in ε and z = J u, which is the identity for every J, and the eigenvectors."
    ),
    check=check_decomposition,
    mutations={
        "predictions not balanced": {"skew": 1},
        "second term not centred": {"centring": 0},
    },
)

# Outliers, secondary eigenvalues and bulk.

Balanced = Sequence[tuple[fmpq, fmpq]]
# (√ε, r) with p_y = (C−1) r², so that √ε and √(ε p_y/(C−1)) = √ε r are both rational.
ROOTS: dict[int, Balanced] = {
    2: [(fmpq(3, 5), fmpq(4, 5)), (fmpq(5, 13), fmpq(12, 13))],
    3: [(fmpq(1, 10), fmpq(7, 10)), (fmpq(7, 26), fmpq(17, 26))],
    5: [(fmpq(3, 10), fmpq(4, 10)), (fmpq(5, 26), fmpq(12, 26))],
}


def balanced(classes: int, label: int, root: fmpq) -> tuple[fmpq, ...]:
    """p with p_c = root² for every wrong class."""
    right = 1 - (classes - 1) * root * root
    return tuple(right if c == label else root * root for c in range(classes))


def differences(jacobian: fmpq_mat, label: int) -> fmpq_mat:
    """Rows d_c = J_c − J_y, c ≠ y in order."""
    others = [row(jacobian, c) for c in range(jacobian.nrows()) if c != label]
    return stacked([other - row(jacobian, label) for other in others])


def sum_and_rest(jacobian: fmpq_mat, label: int) -> tuple[fmpq_mat, fmpq_mat]:
    """The row s = Σ_c d_c, and the rows d_c − s/(C−1)."""
    d = differences(jacobian, label)
    s = rational([[1] * d.nrows()]) * d
    return s, d - rational([[fmpq(1, d.nrows())]] * d.nrows()) * s


def outer(rows: fmpq_mat) -> fmpq_mat:
    return rows.transpose() * rows


def check_three_levels(within: int = 1, weighted: bool = True) -> str:
    """F against between-class and within-class parts, two samples a class, C = 2, 3, 5."""
    rng = random.Random(0)
    for classes, roots in ROOTS.items():
        parameters = classes * (classes - 1) + 2
        samples = [(label, *pair) for label in range(classes) for pair in roots]
        jacobians = [random_matrix(rng, classes, parameters) for _ in samples]
        pool = Pool(
            tuple(jacobians),
            tuple(balanced(classes, label, root) for label, root, _ in samples),
            tuple(label for label, *_ in samples),
        )
        means, bulk = [], fmpq_mat(parameters, parameters)
        for label in range(classes):
            parts = []
            for (own, root, r), jacobian in zip(samples, jacobians, strict=True):
                if own == label:
                    s, rest = sum_and_rest(jacobian, label)
                    parts.append(stacked([root * (r if weighted else 1) * s, root * rest]))
            mean = total(parts) / len(parts)
            means.append(mean)
            bulk += total(outer(part - mean) for part in parts)
        per_class = len(roots)
        outlying = stacked([row(mean, 0) for mean in means])
        secondary = stacked([row(mean, c) for mean in means for c in range(1, classes)])
        found = (per_class * (outer(outlying) + outer(secondary)) + within * bulk) / len(pool)
        require(found == fisher(pool), f"F is the sum of the three levels, C = {classes}")
        require(outlying.rank() == classes, "C outliers")
        require(secondary.rank() == classes * (classes - 2), "C(C−2) secondary directions")
    return f"C = {', '.join(map(str, ROOTS))}: F − sum = 0 exactly, ranks C and C(C−2)"


THREE_LEVELS = Claim(
    name="appendix-a-three-levels",
    source="Appendix A",
    statement=(
        "Balanced predictions: F = outliers (rank ≤ C) + secondary (rank ≤ C(C−2)) + bulk, the "
        "bulk being the covariance within classes of √(ε p_y/(C−1)) s and √ε (d_c − s/(C−1))"
    ),
    status="proved",
    means="exact rational computation",
    argument=(
        "By the decomposition, N F is a sum of outer products of the rows √(ε_i p_y/(C−1)) s_i and "
        "√ε_i (d_ic − s_i/(C−1)). Within each class k, Σ_i rᵢᵀrᵢ = N_k r̄ᵀr̄ + Σ_i (rᵢ − r̄)ᵀ(rᵢ − "
        "r̄) for each kind of row. The C means of the first kind span at most C dimensions; of the "
        "second there are C(C−1), and the C−1 of one class sum to 0, which leaves C(C−2). All "
        "three parts are positive semidefinite; the bulk, without which rank F ≤ C(C−1), is 0 "
        "exactly if J and p, up to what these rows see, depend on the class alone. The class means "
        "are those of the *weighted* rows. The check takes probabilities with rational roots and "
        "random rational J, where the ranks are attained."
    ),
    check=check_three_levels,
    mutations={
        "bulk left out": {"within": 0},
        "p_y/(C−1) left out of the weight": {"weighted": False},
    },
)

# How many outliers, and where.


def class_constant(jacobians: Sequence[fmpq_mat], roots: Sequence[fmpq]) -> tuple[fmpq_mat, ...]:
    """F with one sample a class, its outlying part, its secondary part and W_k S_k·S_l.

    The last, C×C, is similar to the Gram matrix √(w_k w_l) s_k·s_l and free of roots.
    """
    classes = len(jacobians)
    predictions = tuple(balanced(classes, k, root) for k, root in enumerate(roots))
    pool = Pool(tuple(jacobians), predictions, tuple(range(classes)))
    parts = [sum_and_rest(jacobian, k) for k, jacobian in enumerate(jacobians)]
    s = stacked([part for part, _ in parts])
    weights = [
        root * root * p[k] / ((classes - 1) * classes)
        for k, (root, p) in enumerate(zip(roots, predictions, strict=True))
    ]
    weighted = rational(
        [[w * entry for entry in line] for w, line in zip(weights, s.tolist(), strict=True)]
    )
    secondary = total(
        root * root * outer(rest) / classes for root, (_, rest) in zip(roots, parts, strict=True)
    )
    return fisher(pool), s.transpose() * weighted, secondary, weighted * s.transpose()


def check_number(shared: bool = True, secondary_remain: bool = False) -> str:
    """Exact ranks of the outlying part and of F, logit gradients by class and shared."""
    rng, seen = random.Random(1), []
    for classes in (3, 4, 5):
        roots = [fmpq(1, 5 + k) for k in range(classes)]
        size = classes * (classes - 1) + 1
        own = [random_matrix(rng, classes, size) for _ in range(classes)]
        F, outlying, _, _ = class_constant(own, roots)
        require(outlying.rank() == classes, "C outliers")
        require(F.rank() == classes * (classes - 1), "C + C(C−2) nonzero eigenvalues")
        F, outlying, _, _ = class_constant([own[0]] * classes if shared else own, roots)
        require(outlying.rank() == classes - 1, "C − 1 outliers")
        expected = (classes - 1) + secondary_remain * classes * (classes - 2)
        require(F.rank() == expected, "and no other nonzero eigenvalue")
        seen.append(f"{classes}: {classes}, {classes - 1}")
    return f"rank of the outlying part, J by class and shared, for C = {'; '.join(seen)}"


NUMBER = Claim(
    name="number-of-outliers",
    source="Appendix A",
    statement=(
        "C outliers; C − 1, and then no secondary eigenvalues either, if the logit gradients J_c "
        "do not depend on the class of the sample"
    ),
    status="proved with a correction",
    means="exact rational computation",
    argument=(
        "The outlying part is Σ_k w_k s̄_kᵀs̄_k, a sum of C rank-one terms, and of rank C for "
        "class-wise J in general position. If J is the same for every class, s̄_k = Σ_c J_c − C "
        "J_k, hence Σ_k s̄_k = 0 and C − 1 remain. The correction: in that case all of d_ic lie in "
        "the span of the C − 1 differences J_c − J_0, so that F = Jᵀ(mean Λ)J has rank ≤ C − 1 "
        "altogether: C(C−2) secondary eigenvalues beside C − 1 outliers do not occur in this "
        "limit. They need J to depend on the class, and then there are C outliers. The check has "
        "both cases, one sample a class, in rationals."
    ),
    check=check_number,
    mutations={
        "J depends on the class": {"shared": False},
        "secondary eigenvalues beside C − 1 outliers": {"secondary_remain": True},
    },
)


def eigenvalues(matrix: fmpq_mat) -> list[arb]:
    """Eigenvalues of a symmetric matrix with multiplicity, falling, as roots of its polynomial."""
    with ctx.workprec(EIGENVALUE_BITS):
        roots = [(z.real, count) for z, count in matrix.charpoly().complex_roots()]
        values = [value for value, count in roots for _ in range(count)]
        return sorted(values, key=lambda value: float(value.mid()), reverse=True)


def with_orthogonal_parts(rng: random.Random, classes: int) -> list[fmpq_mat]:
    """Class-wise J whose s̄_k are orthogonal to all d_lc − s̄_l/(C−1): separate coordinates."""
    jacobians = []
    for label in range(classes):
        s = random_matrix(rng, 1, classes)
        free = random_matrix(rng, classes - 1, classes * (classes - 2))
        mean = rational([[fmpq(1, classes - 1)] * (classes - 1)]) * free
        rest = iter((free - rational([[1]] * (classes - 1)) * mean).tolist())
        zero = [fmpq(0)] * (classes * (classes - 1))
        lines = [
            zero if c == label else (s / (classes - 1)).tolist()[0] + next(rest)
            for c in range(classes)
        ]
        jacobians.append(rational(lines))
    return jacobians


def check_values(orthogonal: bool = True, dropped: int = 1) -> str:
    """Union of both spectra if the parts are orthogonal; Weyl's interval if not; C = 3."""
    rng, classes = random.Random(2), 3
    roots = [fmpq(1, 10), fmpq(1, 5), fmpq(1, 4)]
    general = [random_matrix(rng, classes, classes * (classes - 1)) for _ in range(classes)]
    parts = with_orthogonal_parts(rng, classes) if orthogonal else general
    F, outlying, secondary, gram = class_constant(parts, roots)
    size = F.nrows()
    t = fmpq_mat(1, 1).charpoly()
    powers = math.prod([t] * (size - classes), start=t**0)
    require(outlying.charpoly() == gram.charpoly() * powers, "outlying part and Gram matrix")
    require(
        F.charpoly() * t**size == outlying.charpoly() * secondary.charpoly(),
        "F has the eigenvalues of both parts",
    )
    F, outlying, secondary, gram = class_constant(general, roots)
    require(outlying + secondary == F, "F is the sum of both parts")
    top = eigenvalues(secondary)[0]
    inside = zip(eigenvalues(F), eigenvalues(gram), strict=False)
    distances = []
    for seen, predicted in inside:
        require(seen > dropped * predicted, "λ_k(F) above the Gram matrix's")
        require(seen < dropped * predicted + top, "and by less than λ_1 of the secondary part")
        distances.append(float(((seen - predicted) / seen).mid()))
    worst = max(distances)
    return (
        f"C = {classes}: polynomials equal where orthogonal; else λ_1…λ_{classes} of F up to "
        f"{worst:.0%} above the Gram matrix's, within Weyl's interval"
    )


VALUES = Claim(
    name="outliers-are-gram-eigenvalues",
    source="Appendix A",
    statement=(
        "Without variation within classes, the outliers are the eigenvalues of the C×C Gram matrix "
        "√(w_k w_l) s̄_k·s̄_l, w_k = ε_k p_k N_k/((C−1)N), and F's if s̄_k ⟂ d_lc − s̄_l/(C−1)"
    ),
    status="proved with a correction",
    means="exact rational computation",
    argument=(
        "With S̃ the rows √w_k s̄_k the outlying part is S̃ᵀS̃, whose nonzero eigenvalues are "
        "those of S̃S̃ᵀ, always. The correction is about F = S̃ᵀS̃ + R, R ⪰ 0 the secondary part: "
        "F has exactly the eigenvalues of both if their ranges are orthogonal, for then (S̃ᵀS̃)R = "
        "0; otherwise Weyl's inequality gives λ_k(S̃S̃ᵀ) ≤ λ_k(F) ≤ λ_k(S̃S̃ᵀ) + λ_1(R), and the "
        "bulk adds its own λ_1 to the upper end. The check compares characteristic polynomials, "
        "exactly, where the parts are orthogonal, and encloses the eigenvalues in balls for a J in "
        "general position."
    ),
    check=check_values,
    mutations={
        "parts not orthogonal": {"orthogonal": False},
        "predicted twice as large": {"dropped": 2},
    },
)

CLAIMS = (DECOMPOSITION, THREE_LEVELS, NUMBER, VALUES)
