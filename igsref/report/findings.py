"""What a report says, measured: plain numbers, and a word on what was left out."""

import warnings
from dataclasses import dataclass, field

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.fisher import eigenvalues, fisher_bytes
from igsref.geometry.plan import DENSE, STREAMED, factorisation_seconds, plan_of
from igsref.measures.choose import igs
from igsref.measures.result import Result
from igsref.measures.textbook import AUTHORS_RCOND, textbook_igs
from igsref.memory import readable, readable_time
from igsref.problem import Problem
from igsref.report.classes import ClassShare, class_shares
from igsref.report.layers import LayerBounds, layer_bounds, layers_of

TEXTBOOK_PARAMETERS = 3000
"""More of them take minutes in ``eigh``."""
TEXTBOOKS = (
    (torch.float64, AUTHORS_RCOND),
    (torch.float64, 1e-12),
    (torch.float32, AUTHORS_RCOND),
)


@dataclass(frozen=True)
class Textbook:
    """IGS through a dense F in one precision, eigenvalues below rcond·λ_max cut, if it has one."""

    dtype: str
    rcond: float
    value: float | None


@dataclass(frozen=True, eq=False)
class Findings:
    """All that is measured for a report.

    spectrum: eigenvalues of F, falling, (min(rows, parameters),); None if left out.
    left_out: section → why it is empty. warned: what the measurement warned of.
    """

    problem: Problem
    result: Result
    spectrum: Float64[Tensor, " k"] | None
    layers: tuple[LayerBounds, ...]
    classes: tuple[ClassShare, ...]
    textbook: tuple[Textbook, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    warned: tuple[str, ...] = ()


def find(problem: Problem, memory: int | None, max_seconds: float) -> Findings:
    """Measure by the route that fits, and then what is affordable beside it.

    Raises as ``igsref.igs`` does.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = igs(problem, memory=memory, max_seconds=max_seconds)
    for each in caught:
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    left_out: dict[str, str] = {}
    budget = plan_of(problem, memory).bytes_available
    classes = class_shares(problem, result)
    if not classes:
        left_out["classes"] = "Labels of this problem are no classes."
    return Findings(
        problem,
        result,
        _spectrum(problem, result, budget, left_out),
        _layers(problem, result, memory, max_seconds, left_out),
        classes,
        _textbook(problem, budget, max_seconds, left_out),
        left_out,
        tuple(dict.fromkeys(str(each.message) for each in caught if not _of_others(each))),
    )


def _of_others(caught: warnings.WarningMessage) -> bool:
    """Whether it is about what will once be removed: nothing that a reader need know."""
    passing = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    return issubclass(caught.category, passing)


def _spectrum(
    problem: Problem, result: Result, budget: int, left_out: dict[str, str]
) -> Float64[Tensor, " k"] | None:
    try:
        if result.method in (DENSE, STREAMED):
            values = eigenvalues(problem, memory=budget).cpu()
            if values[0] > 0:
                return values
            left_out["spectrum"] = "F is 0, and so are all its eigenvalues."
            return None
        why = f"the {result.method} route does not form the factor"
    except MemoryError as error:
        why = str(error)
    left_out["spectrum"] = f"Not computed: {why}. igsref.top_eigenpairs gives leading eigenvalues."
    return None


def _layers(
    problem: Problem,
    result: Result,
    memory: int | None,
    max_seconds: float,
    left_out: dict[str, str],
) -> tuple[LayerBounds, ...]:
    count, planned = len(layers_of(problem)), plan_of(problem, memory)
    seconds = 2 * count * planned.seconds
    if result.method not in (DENSE, STREAMED):
        left_out["layers"] = f"Not computed: the {result.method} route does not form the factor."
    elif seconds > max_seconds:
        left_out["layers"] = (
            f"Not computed: {2 * count} measurements for {count} layers would take about "
            f"{readable_time(seconds)} of {readable_time(max_seconds)}."
        )
    elif count == 1:
        left_out["layers"] = "All parameters belong to one layer."
    else:
        return layer_bounds(problem, memory)
    return ()


def _textbook(
    problem: Problem, budget: int, max_seconds: float, left_out: dict[str, str]
) -> tuple[Textbook, ...]:
    parameters = problem.num_parameters
    if parameters > TEXTBOOK_PARAMETERS:
        left_out["textbook"] = (
            f"Not computed: F would have {parameters}² entries to diagonalise, and this section "
            f"ends at {TEXTBOOK_PARAMETERS} parameters."
        )
        return ()
    if (seconds := len(TEXTBOOKS) * factorisation_seconds(problem)) > max_seconds:
        left_out["textbook"] = (
            f"Not computed: it would take about {readable_time(seconds)} of "
            f"{readable_time(max_seconds)}."
        )
        return ()
    if (needed := fisher_bytes(problem)) > budget:
        left_out["textbook"] = (
            f"Not computed: F and the Jacobian that it is made of take {readable(needed)} of "
            f"{readable(budget)}."
        )
        return ()
    return tuple(
        Textbook(str(dtype).removeprefix("torch."), rcond, _value(problem, dtype, rcond))
        for dtype, rcond in TEXTBOOKS
    )


def _value(problem: Problem, dtype: torch.dtype, rcond: float) -> float | None:
    try:
        return textbook_igs(problem, dtype=dtype, rcond=rcond)
    except (ValueError, TypeError, ArithmeticError, MemoryError, RuntimeError):
        # A network may not run in float32, and eigh may give F up.
        return None
