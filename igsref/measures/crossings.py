"""Crossings: the steps ε along given directions of θ that take a sample to the boundary f_y = f_c.

To first order, as in equation (10), ε = −(f_y − f_c)/(a_c·u), a_c = ∂(f_y − f_c)/∂θ: one step on
one side. Exactly, a root of ε ↦ (f_y − f_c)(θ + ε u): none, or several on either side. Σ_k over
all eigenpairs of F of 1/(ε² λ) is an invariant length with the first-order steps only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Unpack

import torch
from jaxtyping import Float64, Int64
from scipy.optimize import brentq
from torch import Tensor

from igsref.curvature.loss import parameter_vector
from igsref.data import Samples
from igsref.flat import unflatten
from igsref.jacobian.rows import chunk_size, jacobian_rows
from igsref.measures.gaps import (
    check_off_boundary,
    class_logits,
    covectors,
    gaps,
    hard_labels,
)
from igsref.problem import Problem, ProblemOptions, as_problem

_SMALLEST = 1e-6
_POINTS = 64
"""The scan outwards goes from 1e-6 to 1 times the limit; each step is a quarter longer."""
_RTOL = 4 * 2.0**-52
"""The smallest that brentq takes."""
_MOST_STEPS = 10_000
"""Halving takes 2046 from the largest normal float to the smallest; interpolation comes between."""


@dataclass(frozen=True, eq=False)
class Crossings:
    """Steps to the boundary between label and rival, (N, k); ∓∞ where none was found.

    backward < 0 < forward: the nearest ones on either side. rivals: c of each sample, (N,).
    limit: the longest step that was looked at, ∞ to first order.
    """

    backward: Float64[Tensor, "samples k"]
    forward: Float64[Tensor, "samples k"]
    rivals: Int64[Tensor, " samples"]
    limit: float

    @property
    def nearest(self) -> Float64[Tensor, "samples k"]:
        """The shorter of the two steps with its sign; ∞ where the boundary is never crossed."""
        closer = torch.where(-self.backward < self.forward, self.backward, self.forward)
        return torch.where(closer.isinf(), torch.inf, closer)

    @property
    def never(self) -> float:
        """Share of samples and directions with no crossing within the limit."""
        return float(self.nearest.isinf().double().mean())


def first_order_crossings(
    model: Any,
    data: Any = None,
    *,
    directions: Float64[Tensor, "params k"],
    rivals: Int64[Tensor, " samples"] | None = None,
    **options: Unpack[ProblemOptions],
) -> Crossings:
    """ε_ik = −(f_y − f_c)/(a_c·u_k), c the rival of sample i, as in equation (10).

    directions: columns u_k, as ``igsref.spectrum`` gives them; (m, k).
    rivals: the class c of each sample, (N,); its largest other logit unless given.

    Raises TypeError or ValueError for directions or rivals that do not fit; ValueError for samples
    on the boundary and as ``igsref.margins``.
    """
    problem, labels, rivals, gap = _start(model, data, directions, rivals, options)
    step = -gap[:, None] / _slopes(problem, covectors(problem, labels, rivals), directions)
    return Crossings(
        torch.where(step < 0, step, -torch.inf).cpu(),
        torch.where(step > 0, step, torch.inf).cpu(),
        rivals.cpu(),
        math.inf,
    )


def exact_crossings(
    model: Any,
    data: Any = None,
    *,
    directions: Float64[Tensor, "params k"],
    limit: float,
    rivals: Int64[Tensor, " samples"] | None = None,
    **options: Unpack[ProblemOptions],
) -> Crossings:
    """The roots ε of (f_y − f_c)(θ + ε u_k) nearest to 0 on either side, up to ±limit.

    64 points on each side, from 1e-6·limit outwards, each a quarter further than the last, show
    the first change of sign; Brent's method then finds the root between two points to the last
    bits of ε. Two roots between neighbouring points leave no change of sign and are not seen.
    directions, rivals: as for :func:`first_order_crossings`. limit: positive and finite.

    Raises as :func:`first_order_crossings`; ValueError for a limit that is not positive and finite,
    and where the logits are not finite on the way there.
    """
    if isinstance(limit, bool) or not isinstance(limit, float | int):
        raise TypeError(f"limit must be a number; got {limit!r}")
    if not 0 < limit < math.inf:
        raise ValueError(f"limit must be positive and finite; got {limit}")
    problem, labels, rivals, gap = _start(model, data, directions, rivals, options)
    sides = {
        sign: torch.stack(
            [_along(problem, labels, rivals, gap, u, sign * limit) for u in directions.mT], dim=1
        )
        for sign in (-1.0, 1.0)
    }
    return Crossings(sides[-1.0], sides[1.0], rivals.cpu(), float(limit))


def _start(
    model: Any, data: Any, directions: Tensor, rivals: Tensor | None, options: ProblemOptions
) -> tuple[Problem, Tensor, Tensor, Tensor]:
    """The problem, labels, rivals, and their gaps, all checked; nothing on a boundary."""
    problem = as_problem(model, data, **options)
    labels = hard_labels(problem)
    _check_directions(directions, problem.num_parameters)
    scores = class_logits(problem, problem.labelled_logits)
    if rivals is None:
        rivals = scores.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
    _check_rivals(rivals, labels, scores.shape[1])
    rivals = rivals.to(labels)
    values = gaps(problem, problem.labelled_logits, labels)
    others = torch.arange(scores.shape[1], device=labels.device) != rivals[:, None]
    check_off_boundary(values.masked_fill(others, 1.0), labels)
    return problem, labels, rivals, values.gather(1, rivals[:, None])[:, 0]


def _check_directions(directions: Any, params: int) -> None:
    if not isinstance(directions, Tensor) or directions.dtype != torch.float64:
        kind = directions.dtype if isinstance(directions, Tensor) else type(directions).__name__
        raise TypeError(f"directions must be a float64 tensor of columns (m, k); got {kind}")
    if directions.ndim != 2 or len(directions) != params or directions.shape[1] == 0:
        raise ValueError(
            f"directions must have shape (m, k), here ({params}, k), k ≥ 1; "
            f"got {tuple(directions.shape)}"
        )
    if not bool(torch.isfinite(directions).all()):
        raise ValueError("directions must be finite; they hold infinities or NaN")
    zero = (~directions.any(dim=0)).nonzero()
    if zero.numel():
        raise ValueError(f"directions must not be zero; column {int(zero[0])} is")


def _check_rivals(rivals: Any, labels: Tensor, classes: int) -> None:
    if not isinstance(rivals, Tensor) or rivals.is_floating_point() or rivals.dtype == torch.bool:
        kind = rivals.dtype if isinstance(rivals, Tensor) else type(rivals).__name__
        raise TypeError(f"rivals must be a tensor of class indices; got {kind}")
    if rivals.shape != labels.shape:
        raise ValueError(f"rivals must have shape ({len(labels)},); got {tuple(rivals.shape)}")
    own = rivals.to(labels)
    bad = ((own < 0) | (own >= classes) | (own == labels)).nonzero()
    if bad.numel():
        first = int(bad[0])
        raise ValueError(
            f"rivals must lie in 0..{classes - 1} and differ from the labels; rivals[{first}] is "
            f"{int(own[first])}, the label {int(labels[first])}"
        )


def _slopes(problem: Problem, covector: Tensor, directions: Tensor) -> Float64[Tensor, "samples k"]:
    """a_c·u_k of every labelled sample, some samples at a time."""
    cotangents = torch.zeros_like(problem.logits)
    cotangents[problem.members] = covector
    size = chunk_size(problem.num_parameters * cotangents.element_size())
    return torch.cat(
        [
            jacobian_rows(problem, cotangents[:, None], samples=part) @ directions
            for part in problem.members.split(size)
        ]
    )


def _along(
    problem: Problem, labels: Tensor, rivals: Tensor, gap: Tensor, u: Tensor, limit: float
) -> Float64[Tensor, " samples"]:
    """The nearest crossing of every sample between 0 and the limit, or ±∞."""
    scan = [0.0, *(limit * _SMALLEST ** (1 - i / (_POINTS - 1)) for i in range(_POINTS))]
    out = torch.full((len(labels),), math.copysign(math.inf, limit), dtype=torch.float64)
    seen = torch.stack([gap, *(_moved_gap(problem, labels, rivals, u, e) for e in scan[1:])])
    across = (seen * gap.sign()) <= 0
    for sample in across.any(dim=0).nonzero()[:, 0].tolist():
        first = int(across[:, sample].double().argmax())
        height = cache(_height(problem, labels, rivals, u, sample))
        out[sample] = _root(height, scan[first - 1], scan[first])
    return out


def _moved_gap(
    problem: Problem, labels: Tensor, rivals: Tensor, u: Tensor, step: float
) -> Float64[Tensor, " samples"]:
    """f_y − f_c of every labelled sample at θ + step·u."""
    theta = unflatten(parameter_vector(problem) + step * u, problem.function.parameters)
    logits = problem.at(theta)[problem.members]
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(
            f"the logits are not finite at a step of {step:g} along one of the directions; "
            "give a smaller limit"
        )
    return gaps(problem, logits, labels).gather(1, rivals[:, None])[:, 0]


def _height(
    problem: Problem, labels: Tensor, rivals: Tensor, u: Tensor, sample: int
) -> Callable[[float], float]:
    """ε ↦ (f_y − f_c)(θ + ε u) of one sample."""
    where = problem.members[sample : sample + 1]
    args, kwargs = problem.samples.inputs(where)
    one = replace(
        problem,
        samples=Samples(args, kwargs, problem.samples.labels[:1]),
        logits=problem.logits[where],
        targets=problem.targets[sample : sample + 1],
        members=torch.zeros_like(where),
    )
    own, other = labels[sample : sample + 1], rivals[sample : sample + 1]
    return lambda step: float(_moved_gap(one, own, other, u, step))


def _root(height: Callable[[float], float], near: float, far: float) -> float:
    """Between two steps that were seen on different sides of the boundary, or on it."""
    ends = height(near), height(far)
    if ends[1] == 0.0:
        return far
    # A sample alone may round to another side than in its batch: then the boundary is here.
    if ends[0] * ends[1] > 0 or ends[0] == 0.0:
        return near if abs(ends[0]) <= abs(ends[1]) and near != 0.0 else far
    return float(brentq(height, near, far, xtol=2.0**-1022, rtol=_RTOL, maxiter=_MOST_STEPS))
