"""What was measured, for the head of a page: the model, its data, and when."""

from datetime import datetime
from os import PathLike, fspath

from igsref.measures.result import Result
from igsref.problem import Problem


def model_name(problem: Problem) -> str:
    """The type of the module, or that it is a function."""
    module = problem.function.module
    return "a function" if module is None else type(module).__name__


def heading(
    problem: Problem, result: Result, when: datetime, weights: str | PathLike[str] | None = None
) -> dict[str, str]:
    """Rows of the head: a name and what it is.

    when: of the measurement, with its time zone. weights: where the model's parameters came from.
    """
    stored = "" if weights is None else f"; weights from {fspath(weights)}"
    kind = "classes" if result.likelihood == "categorical" else "outputs"
    fisher = "a mean over the same samples"
    if result.pool_size != result.num_samples:
        fisher = (
            f"a mean over a pool of N_F = {result.pool_size} inputs, the labelled ones among them"
        )
    return {
        "model": f"{model_name(problem)}, {_parameters(result)}{stored}",
        "data": f"N = {result.num_samples} labelled samples, C = {result.num_classes} {kind}, "
        f"{result.likelihood} likelihood",
        "Fisher matrix F": fisher,
        "measured": f"{when:%Y-%m-%d %H:%M} {when.tzname()}",
    }


def _parameters(result: Result) -> str:
    if result.num_parameters == result.full_num_parameters:
        return f"{result.num_parameters} parameters"
    bound = "a lower bound for" if result.is_lower_bound else "the same as for"
    return (
        f"{result.num_parameters} of {result.full_num_parameters} parameters: the IGS is {bound} "
        "the whole network"
    )
