"""Some inputs of a problem's pool as a problem of their own, and the rows of D in such parts."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from jaxtyping import Float64
from torch import Tensor

from igsref.data import Samples
from igsref.jacobian.rows import jacobian_rows
from igsref.problem import Problem


class RowBlock(NamedTuple):
    """The inputs as a problem without labels, its contrast K (·, R, C), and rows of D = K J."""

    part: Problem
    contrast: Float64[Tensor, "samples rows classes"]
    rows: Float64[Tensor, "stacked params"]


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


def row_blocks(problem: Problem, samples_at_once: int) -> Iterator[RowBlock]:
    """All rows of D in the order of the pool, so many samples at a time."""
    for start in range(0, problem.pool_size, samples_at_once):
        part = unlabelled_part(problem, slice(start, start + samples_at_once))
        contrast = part.likelihood.contrast(part.logits)
        yield RowBlock(part, contrast, jacobian_rows(part, contrast))
