"""An upper bound on the IGS from blocks of samples, each on its own.

Let A_b be the rows of A that belong to block b, and P_b the projector onto its range. Then

    IGS = Σ v_iᵀ P v_i ≤ Σ_b Σ_{i∈b} v_iᵀ P_b v_i = Σ_b IGS(block b),

because A x has the parts A_b x, so range(A) ⊂ ⊕_b range(A_b), and P ≤ ⊕_b P_b.
"""

import math
import warnings
from typing import Any, SupportsIndex, Unpack

import torch

from igsref.arguments import checked_integer
from igsref.data import Samples
from igsref.geometry.access import as_geometry
from igsref.geometry.verify import is_verifiable
from igsref.jacobian.rounding import estimate_logit_error
from igsref.jacobian.running import logit_error
from igsref.measures.igs import check_ceiling, check_rank_bound
from igsref.measures.outputs import (
    ceiling_end,
    ceiling_end_at,
    enclose,
    output_error,
    output_error_at,
)
from igsref.problem import Problem, ProblemOptions, as_problem
from igsref.progress import interruptible


def block_upper_bound(
    model: Any,
    data: Any = None,
    *,
    block_size: SupportsIndex,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> float:
    """Σ_b IGS(block b) ≥ IGS over blocks of consecutive samples, never above the ceiling.

    Each block adds the upper end of its own IGS, which is its ceiling where it is saturated. A
    block within a larger one can only add to the bound: all samples in one block give the upper
    end of the IGS itself, one sample a block hardly less than the ceiling. Of the grade that
    :func:`igsref.exact_igs` states: proven where rounding errors are.

    block_size: samples of a block; the last one may have fewer.
    memory: budget in bytes (2 GiB, or what is free if that is less), for one block at a time.
    options: as for :func:`igsref.as_problem`, without a pool.

    Raises TypeError or ValueError for a block_size that is no positive integer, for a pool
    (fisher_data) and as :func:`igsref.exact_igs`; MemoryError where a block does not fit.

    >>> model = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> data = (torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([0, 1, 0, 1]))
    >>> [round(block_upper_bound(model, data, block_size=b), 9) for b in (1, 2, 4)]
    [4.0, 2.0, 1.0]
    """
    size = checked_integer("block_size", block_size, least=1)
    problem = as_problem(model, data, **options)
    if problem.has_pool:
        raise ValueError(
            "block_upper_bound takes F as a mean over the labelled samples; leave fisher_data out"
        )
    ceilings = problem.likelihood.ceiling(problem.logits, problem.targets)
    check_ceiling(ceilings * problem.num_samples)
    starts = range(0, problem.num_samples, size)
    with interruptible("blocks of samples", len(starts), "no bound yet") as blocks:
        ends = [
            _upper_end(_block(problem, start, start + size), memory) for start in blocks(starts)
        ]
    # fsum rounds once.
    return min(math.fsum(ends) * (1 + 2.0**-52), _ceiling(problem))


def _block(problem: Problem, start: int, stop: int) -> Problem:
    """The problem of consecutive samples."""
    args, kwargs = problem.samples.inputs(slice(start, stop))
    samples = Samples(args, kwargs, problem.samples.labels[start:stop])
    logits, targets = problem.logits[start:stop], problem.targets[start:stop]
    members = torch.arange(len(targets), device=problem.members.device)
    return Problem(
        problem.function,
        samples,
        problem.likelihood,
        logits,
        targets,
        members,
        problem.known_rank,
    )


def _upper_end(problem: Problem, memory: int | None) -> float:
    """The upper end of the IGS of a block."""
    with warnings.catch_warnings():
        # A block may well be dead where the network is not.
        warnings.filterwarnings("ignore", "the logits' differences", RuntimeWarning)
        geometry = as_geometry(problem, memory=memory)
    check_rank_bound(geometry)
    residuals, outputs = problem.residuals(), output_error(geometry)
    inside = geometry.bracket(geometry.in_blocks(residuals))
    upper = enclose(geometry, 0.0, inside, outputs).upper
    return min(upper, ceiling_end(geometry, residuals, outputs))


def _ceiling(problem: Problem) -> float:
    """The ceiling of all samples, upper end."""
    known = logit_error if is_verifiable(problem) else estimate_logit_error
    outputs = output_error_at(problem, known(problem))
    return ceiling_end_at(problem, problem.residuals(), outputs)
