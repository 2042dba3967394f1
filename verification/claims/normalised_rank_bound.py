"""Null directions that a norm brings: what γ reads, what γ makes, constants that β takes back."""

import sympy

from verification.claims.claim import Claim, require

# Statement: rank F ≤ m − 4d − 1 for a perceptron with BatchNorm before d leaky ReLU units.

_UNITS, _CLASSES = 2, 3
_INPUTS = ((1, 2), (-1, 3), (2, -5), (3, 1), (-2, -1), (5, 4), (-3, 2), (4, -3))
_SLOPES = ((1, 1), (1, 0), (0, 1), (1, 1), (0, 1), (1, 0), (1, 1), (0, 0))
"""Of the two units at as many samples; 0 and 1 stand for any two slopes."""
_POINT = (2, 3, -5, 7, 11, -13, 17, 19, -23, 29, 31, -37, 41, 43, -47, 53, 59, -61, 67)


def check_norm(mean: bool = True, taken_back: bool = True, sign: int = -1, more: int = 0) -> str:
    """Logits of the tangent network, symbolic in θ = (W, b, γ, β, V, c); μ and σ are numbers."""
    W = sympy.Matrix(_UNITS, 2, sympy.symbols("w:4"))
    b, gain, bias = (sympy.Matrix(sympy.symbols(f"{name}:2")) for name in ("b", "g", "h"))
    V = sympy.Matrix(_CLASSES, _UNITS, sympy.symbols("v:6"))
    c = sympy.Matrix(sympy.symbols("c:3"))
    mu, deviation = sympy.Matrix([3, -2]), sympy.Matrix([2, 5])
    theta = [*W, *b, *gain, *bias, *V, *c]
    rows = []
    for x, slopes in zip(_INPUTS, _SLOPES, strict=True):
        seen = W * sympy.Matrix(x) + b - mu
        bent = [
            s * (g * z / d + h)
            for s, g, z, d, h in zip(slopes, gain, seen, deviation, bias, strict=True)
        ]
        logits = V * sympy.Matrix(bent) + c
        rows += [logits[k] - logits[0] for k in range(1, _CLASSES)]
    D = sympy.Matrix(rows).jacobian(theta)
    directions = []
    for u in range(_UNITS):
        ratio = gain[u] / deviation[u]
        reads = {e: e for e in (*W[u, :], b[u])} | {gain[u]: -gain[u]}
        makes = {e: e for e in (gain[u], bias[u])} | {e: sign * e for e in V[:, u]}
        constant = {b[u]: 1} | ({bias[u]: -ratio} if taken_back else {})
        directions += [reads | ({bias[u]: -ratio * mu[u]} if mean else {}), makes, constant]
        directions.append(dict.fromkeys(V[:, u], 1))
    directions.append(dict.fromkeys(c, 1))
    N = sympy.Matrix([[n.get(e, 0) for e in theta] for n in directions]).T
    require((D * N).expand() == sympy.zeros(D.rows, N.cols), "D n = 0")
    point = dict(zip(theta, _POINT, strict=True))
    k = 4 * _UNITS + 1 + more
    require(N.subs(point).rank() == k, "k independent directions")
    rank = D.subs(point).rank()
    require(rank == len(theta) - k, "rank D = m − k at one θ")
    return f"2-2-3 with BatchNorm: {k} directions with D n = 0 for all θ, rank {rank} = 19 − {k}"


NORM = Claim(
    name="rank-bound-of-networks-with-batch-norm",
    source="beyond the paper",
    statement="rank F ≤ m − 4d − 1 for Linear, BatchNorm in evaluation mode, d ReLU or leaky ReLU "
    "units, Linear: each unit has one scaling before γ, one behind it, one constant that β takes "
    "back, and one shift of the logits",
    status="proved",
    means="symbolic identity",
    argument="A unit gives γ(z − μ)/σ + β with z = wᵀx + b. It stays if w, b are multiplied by s, "
    "γ by 1/s, and β − γμ/σ is kept; and if t is added to b and γt/σ taken from β. What it gives "
    "is multiplied by s if γ and β are, and the weights on it are divided. The last layer has "
    "d + 1 shifts, as always. In the tangent network of `rank-bound-at-every-parameter` D n = 0 "
    "for all of these at every θ: the check expands D n in the symbols of θ. They are independent, "
    "and no others are, at one θ, where rank D = m − 4d − 1: so it is for almost all θ. The "
    "general count, over the graph of a network's calls, is `igsref/curvature/symmetries.py`.",
    check=check_norm,
    mutations={
        "the mean scales by itself": {"mean": False},
        "β takes no constant back": {"taken_back": False},
        "weights on the unit with the wrong sign": {"sign": 1},
        "one direction more": {"more": 1},
    },
)

CLAIMS = (NORM,)
