"""Null directions of networks whose activations have no symmetry, as tanh and GELU."""

import sympy
from flint import arb, arb_mat, ctx

from verification.claims.claim import Claim, listed, require
from verification.perceptron import labelled_samples

# Statement: rank F ≤ m − d_{L−1} − 1 for tanh and GELU, and no better bound holds for all.


def check_smooth_bound(also_scalings: bool = False, bits: int = 400) -> str:
    """Upper bound: symbolic for any hidden features; attained: a minor whose ball excludes 0."""
    classes, width = 3, 2
    w = sympy.Matrix(classes, width, sympy.symbols("w:6"))
    b, h = sympy.Matrix(sympy.symbols("b:3")), sympy.Matrix(sympy.symbols("h:2"))
    logits = w * h + b
    shift = [sympy.Matrix(classes, width, lambda _, k, j=j: int(k == j)) for j in range(width)]
    moved = [(w + sympy.Symbol("s") * e) * h + b - logits for e in shift]
    moved.append(sympy.Matrix([sympy.Symbol("s")] * classes))
    for change in moved:
        require(all(sympy.expand(c - change[0]) == 0 for c in change), "all logits move alike")
    minors = []
    for activation in ("tanh", "gelu"):
        bound = _SMOOTH_PARAMETERS - _SMOOTH_WIDTHS[-2] - 1
        bound -= _SMOOTH_WIDTHS[1] if also_scalings else 0
        proven = _proven_rank(activation, bits)
        require(proven <= bound, f"rank D ≤ m − d − 1 for {activation}")
        minors.append(proven)
    return (
        f"{len(moved)} shifts move all logits alike; 2-2-3 networks with tanh, GELU: "
        f"minors of order {listed(minors)} exclude 0, bound {bound}"
    )


_SMOOTH_WIDTHS = (2, 2, 3)
_SMOOTH_PARAMETERS = 2 * 2 + 2 + 2 * 3 + 3
_SMOOTH_LAYERS = (
    ([[0.5, -0.75], [1.25, 0.5]], [0.25, -0.5]),
    ([[1.0, -0.5], [0.5, 0.75], [-1.25, 0.5]], [0.0, 0.5, -0.25]),
)
_SMOOTH_INPUTS = [[float(i % 3) - 1.0, i / 4 - 0.5] for i in range(6)]


def _proven_rank(activation: str, bits: int) -> int:
    """The largest order of a leading minor, after pivoting, whose ball excludes 0."""
    with ctx.workprec(bits):
        seen = labelled_samples(_SMOOTH_LAYERS, activation, _SMOOTH_INPUTS, [0] * 6)
        rows = [
            [a - b for a, b in zip(row, sample.jacobian[0], strict=True)]
            for sample in seen
            for row in sample.jacobian[1:]
        ]
        chosen = _pivots(rows)
        minor = [[rows[i][j] for _, j in chosen] for i, _ in chosen]
        require(not arb_mat(minor).det().contains(0), "the minor is not 0")
        return len(chosen)


def _pivots(rows: list[list[arb]]) -> list[tuple[int, int]]:
    """Complete pivoting as long as the largest remaining entry is above 2^−60, a guess only."""
    left, chosen = [list(row) for row in rows], []
    while True:
        free = [
            (i, j)
            for i in range(len(left))
            for j in range(len(left[0]))
            if i not in {a for a, _ in chosen} and j not in {b for _, b in chosen}
        ]
        if not free:
            return chosen
        i, j = max(free, key=lambda at: abs(float(left[at[0]][at[1]].mid())))
        if abs(float(left[i][j].mid())) < 2.0**-60:
            return chosen
        chosen.append((i, j))
        for k, row in enumerate(left):
            if k not in {a for a, _ in chosen}:
                factor = row[j] / left[i][j]
                left[k] = [x - factor * y for x, y in zip(row, left[i], strict=True)]


SMOOTH = Claim(
    name="rank-bound-of-tanh-and-gelu-networks",
    source="beyond the paper",
    statement="rank F ≤ m − d_{L−1} − 1 for tanh and GELU, at every θ; the scalings of hidden "
    "units are no symmetry of them",
    status="proved",
    means="interval enclosure",
    argument="The logits are W h + b, h the last hidden units, functions of the other parameters. "
    "W + s 1 e_jᵀ adds s h_j to each logit of a sample, and b + s 1 adds s, so all logits of a "
    "sample move alike: the d_{L−1} + 1 directions 1 ⊗ e_j and 1 lie in the kernel of the class "
    "differences D at every θ, whatever the activation, and they are always independent. tanh and "
    "GELU have no more in general: in the check a minor of order m − d_{L−1} − 1 of D, in balls, "
    "excludes 0, so that the bound is attained and that of ReLU networks would be wrong.",
    check=check_smooth_bound,
    mutations={
        "hidden units scale as those of ReLU": {"also_scalings": True},
        "too little precision to exclude 0": {"bits": 12},
    },
)

CLAIMS = (SMOOTH,)
