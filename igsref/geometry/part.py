"""Some inputs of a problem's pool as a problem of their own."""

from dataclasses import replace

from torch import Tensor

from igsref.data import Samples
from igsref.problem import Problem


def unlabelled_part(problem: Problem, chosen: slice | Tensor) -> Problem:
    """The chosen inputs, without labels: what rows of the factor are made of."""
    args, kwargs = problem.samples.inputs(chosen)
    return replace(
        problem,
        samples=Samples(args, kwargs, problem.samples.labels[:0]),
        logits=problem.logits[chosen],
        targets=problem.targets[:0],
        members=problem.members[:0],
    )
