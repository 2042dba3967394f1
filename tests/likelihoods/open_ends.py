"""Whether an OutputError covers what the exact logits may be, in digits enough for 1 − p."""

from dataclasses import dataclass

import mpmath
import torch
from hypothesis import strategies as st
from torch import Tensor

from igsref.likelihoods import Likelihood
from tests.strategies import SEEDS, gaussian

DIGITS = 700
"""p may be exp(−709), and p' − q' and Λ have its square beside 1."""


@dataclass(frozen=True, eq=False)
class Output:
    """One sample's exact output gradient and metric, in the coordinates of the contrast."""

    gradient: list
    metric: list[list]


def numbers(row: Tensor) -> list:
    return [mpmath.mpf(v) for v in row.tolist()]


def softmax_output(logits: list, q: list, order: list[int]) -> Output:
    """p' − q' and diag(p') − p'p'ᵀ for all classes in this order but the first."""
    weights = [mpmath.exp(v - max(logits)) for v in logits]
    p = [w / mpmath.fsum(weights) for w in weights]
    metric = [[p[a] * ((a == b) - p[b]) for b in order[1:]] for a in order[1:]]
    return Output([p[a] - q[a] for a in order[1:]], metric)


def bernoulli_output(logits: list, y: list) -> Output:
    zero = mpmath.mpf(0)
    pairs = zip(logits, y, strict=True)
    outputs = [softmax_output([zero, f], [1 - t, t], [0, 1]) for f, t in pairs]
    metric = [
        [output.metric[0][0] if i == j else zero for j in range(len(y))]
        for i, output in enumerate(outputs)
    ]
    return Output([output.gradient[0] for output in outputs], metric)


def gaussian_output(logits: list, y: list) -> Output:
    unit = [[mpmath.mpf(i == j) for j in range(len(y))] for i in range(len(y))]
    return Output([f - t for f, t in zip(logits, y, strict=True)], unit)


def exact_output(likelihood: Likelihood, f: Tensor, moved: list, target: Tensor) -> Output:
    """At the moved logits, in the coordinates that the contrast of the computed ones chose."""
    if likelihood.name == "categorical":
        order = f.argsort(descending=True, stable=True).tolist()
        return softmax_output(moved, numbers(target), order)
    make = {"bernoulli": bernoulli_output, "gaussian": gaussian_output}[likelihood.name]
    return make(moved, numbers(target))


def solve_lower(lower: list[list], right: list) -> list:
    """L⁻¹ right."""
    x: list = []
    for i, row in enumerate(lower):
        x.append((right[i] - mpmath.fsum(a * b for a, b in zip(row, x, strict=False))) / row[i])
    return x


def stretch(lower: list[list], metric: list[list]) -> mpmath.mpf:
    """‖L⁻¹ Λ L⁻ᵀ − I‖₂."""
    half = [solve_lower(lower, row) for row in metric]  # Λ L⁻ᵀ, since Λ is symmetric
    whole = [solve_lower(lower, list(column)) for column in zip(*half, strict=True)]
    gap = [[v - (i == j) for j, v in enumerate(row)] for i, row in enumerate(whole)]
    largest = max(abs(v) for row in gap for v in row)
    if largest == 0:
        return largest
    with mpmath.workdps(30):
        scaled = mpmath.matrix([[v / largest for v in row] for row in gap])
        values = mpmath.eigsy(scaled, eigvals_only=True)
        # Two roundings to 30 digits are nothing beside the bounds, which are doubles.
        return max(abs(value) for value in values) * largest * (1 - mpmath.mpf(10) ** -25)


def assert_covers(likelihood: Likelihood, f: Tensor, q: Tensor, move: Tensor, error: Tensor):
    """‖L⁻¹ u − v‖ ≤ residual and (1 − η) L Lᵀ ≤ Λ ≤ (1 + η) L Lᵀ at the logits f + move."""
    found = likelihood.output_error(f, q, error)
    roots, v = likelihood.root(f).mT, likelihood.residual(f, q)
    with mpmath.workdps(DIGITS):
        for i in range(len(f)):
            moved = [a + b for a, b in zip(numbers(f[i]), numbers(move[i]), strict=True)]
            output, lower = (
                exact_output(likelihood, f[i], moved, q[i]),
                list(map(numbers, roots[i])),
            )
            whitened = solve_lower(lower, output.gradient)
            gap = mpmath.norm([a - b for a, b in zip(whitened, numbers(v[i]), strict=True)])
            off = stretch(lower, output.metric)
            residual, metric = float(found.residual[i]), float(found.metric[i])
            assert gap <= residual, f"v_{i} is {mpmath.nstr(gap, 17)} off; stated {residual!r}"
            assert off <= metric, f"Λ_{i} is {mpmath.nstr(off, 17)} off; stated {metric!r}"


@st.composite
def moves(draw, like: Tensor) -> tuple[Tensor, Tensor]:
    """(move, error): |move| ≤ error, often all of it; sizes from nothing to a whole logit."""
    size = draw(st.sampled_from([0.0, 2.0**-60, 2.0**-50, 2.0**-30, 2.0**-10, 0.25, 1.0]))
    direction = gaussian(draw(SEEDS), *like.shape)
    if draw(st.booleans()):
        direction = direction.sign()
    error = size * direction.abs()
    return size * direction, torch.maximum(error, error.roll(1, 0)) if draw(
        st.booleans()
    ) else error
