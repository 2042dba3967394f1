"""Data of its own for a metric: ``data`` gives the labelled gradients, ``curvature_data`` H or F.

Unlike ``fisher_data``, a pool that contains the labelled samples, it need not contain any of them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from igsref.problem import Problem, as_problem

NO_LABELS = "H is of labelled samples, and these have no labels"


def labelled_curvature(model: Any, curvature_data: Any, problem: Problem, options: Any) -> Problem:
    """The samples that H is of, as a problem.

    Raises ValueError or TypeError that names curvature_data.
    """
    if isinstance(curvature_data, Problem):
        _check_same_network(problem, curvature_data)
        refuse_pool(curvature_data, NO_LABELS)
        return curvature_data
    _check_not_held(model)
    try:
        return as_problem(model, curvature_data, **options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"curvature_data (labelled, as H needs it): {error}") from error


def fisher_curvature(
    model: Any, data: Any, curvature_data: Any, options: Any
) -> tuple[Problem, Problem]:
    """The labelled samples, and the inputs that F is a mean over.

    Raises ValueError or TypeError that names curvature_data.
    """
    if isinstance(curvature_data, Problem):
        problem = as_problem(model, data, **options)
        refuse_pool(problem, "F comes from curvature_data")
        _check_same_network(problem, curvature_data)
        return problem, curvature_data
    _check_not_held(model)
    try:
        both = as_problem(model, data, fisher_data=_batches(curvature_data), **options)
    except (TypeError, ValueError) as error:
        if "fisher_data" not in str(error):
            raise
        raise type(error)(str(error).replace("fisher_data", "curvature_data")) from error
    first = slice(0, both.pool_size - both.num_samples)
    args, kwargs = both.samples.inputs(first)
    samples = replace(both.samples, args=args, kwargs=kwargs, labels=both.samples.labels[:0])
    curved = replace(
        both,
        samples=samples,
        logits=both.logits[first],
        targets=both.targets[:0],
        members=both.members[:0],
    )
    return both, curved


def refuse_pool(problem: Problem, reason: str) -> None:
    """Raise ValueError for a problem with a pool."""
    if problem.has_pool:
        raise ValueError(
            "an information criterion takes no Problem with a pool of further inputs here: "
            f"{reason}. Make it without fisher_data"
        )


def _batches(curvature_data: Any) -> Any:
    """A pair (x, labels) as a batch, so that its labels are left out."""
    pair = isinstance(curvature_data, tuple) and len(curvature_data) == 2
    return [curvature_data] if pair else curvature_data


def _check_not_held(model: Any) -> None:
    if isinstance(model, Problem) or isinstance(getattr(model, "problem", None), Problem):
        raise TypeError(
            "beside a Problem, curvature_data must be a Problem too: igsref.as_problem(model, "
            "curvature_data)"
        )


def _check_same_network(problem: Problem, curved: Problem) -> None:
    difference = _difference(problem, curved)
    if difference is not None:
        raise ValueError(
            "curvature_data must be a Problem of the same network, θ and likelihood as data's; "
            f"they differ in {difference}"
        )


def _difference(problem: Problem, curved: Problem) -> str | None:
    """What first tells the networks apart, if anything does."""
    here, there = problem.function, curved.function
    return (
        _differing_tensors("θ", here.parameters, there.parameters)
        or _differing_tensors("what is held constant", here.constants, there.constants)
        or _differing_likelihood(problem, curved)
        or _differing_logits(problem, curved)
    )


def _differing_tensors(
    what: str, here: Mapping[str, Tensor], there: Mapping[str, Tensor]
) -> str | None:
    if list(here) != list(there):
        return f"{what}: its names are {list(there)}, data's {list(here)}"
    for name, value in here.items():
        other = there[name]
        # torch.equal takes float32 for float64, and raises for two devices.
        if value.dtype != other.dtype or value.device != other.device:
            return f"{what}: {name} has another dtype or device"
        if not torch.equal(value, other):
            return f"{what}: {name} has other values"
    return None


def _differing_likelihood(problem: Problem, curved: Problem) -> str | None:
    here, there = problem.likelihood, curved.likelihood
    return None if here == there else f"the likelihood: {there}, data's {here}"


def _differing_logits(problem: Problem, curved: Problem) -> str | None:
    """Equal θ may be of unequal functions, ReLU for Tanh: data's on the inputs of the other."""
    theirs = replace(curved, function=problem.function)
    try:
        logits = theirs.at(problem.function.parameters)
    except (TypeError, ValueError) as error:
        return f"the inputs that they take: on curvature_data, data's {error}"
    if logits.shape != curved.logits.shape:
        return (
            f"the logits on curvature_data: shape {tuple(curved.logits.shape)}, of data's network "
            f"{tuple(logits.shape)}"
        )
    worst = float((logits - curved.logits).abs().max())
    # √eps of the largest: rounding in another order stays far below, another function above.
    if not worst <= torch.finfo(logits.dtype).eps ** 0.5 * float(curved.logits.abs().max()):
        return f"the logits on curvature_data, by up to {worst:.3g} at equal parameters"
    return None
