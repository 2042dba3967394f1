"""IGS of a network of any size: the route is chosen from sizes and a budget, and said."""

from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex, Unpack

import torch.distributed as dist

from igsref.arguments import checked_positive
from igsref.curvature.rank_bound import rank_bound
from igsref.curvature.sharded import agreed_by_all
from igsref.geometry.compressed import (
    COLUMNS_PER_ROW,
    compressed_bytes,
    compressed_seconds,
    random_columns,
    saturation_certificate,
)
from igsref.geometry.plan import plan_of
from igsref.measures.igs import exact_igs
from igsref.measures.matrixfree import matrixfree_igs
from igsref.measures.result import Result
from igsref.measures.saturation import saturated_igs
from igsref.memory import readable, readable_time
from igsref.problem import Problem, ProblemOptions, as_problem


def igs(
    model: Any,
    data: Any = None,
    *,
    memory: int | None = None,
    max_seconds: float = 600.0,
    tolerance: float = 1e-2,
    heaviest: SupportsIndex = 10,
    probes: SupportsIndex = 1,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    group: dist.ProcessGroup | None = None,
    **options: Unpack[ProblemOptions],
) -> Result:
    """IGS by the most exact route that fits a budget of memory and time.

    1. :func:`igsref.exact_igs`, where the factor fits ``memory`` (2 GiB, or what is free) and its
       predicted time ``max_seconds``: ``method`` "dense" or "streamed".
    2. A certificate of saturation from 2n of the m parameters, where the network may be saturated
       and the certificate fits: ``method`` "compressed", value and bracket the ceiling's.
    3. :func:`igsref.matrixfree_igs` to ``tolerance``, for up to ``max_seconds``: ``method``
       "krylov". Its lower end is certain, its value an estimate with a standard error.

    ``reason`` says which and why. The choice is a function of sizes and budget alone, except that 3
    follows where 2 did not show saturation. seed: of the certificate's parameters and of probes.
    model, data, options: as for :func:`igsref.as_problem`. heaviest, probes: right-hand sides of
    route 3; several probes where the network is not near its ceiling. checkpoint, group: a file,
    and processes that share the samples, for route 3; 1 and 2 are done by each process on its own,
    where all of them have the room and the time.

    Raises as these functions do.
    """
    checked_positive("max_seconds", max_seconds, finite=False)
    checked_positive("tolerance", tolerance)
    problem = as_problem(model, data, **options)
    planned = plan_of(problem, memory)
    budget = planned.bytes_available
    if agreed_by_all(planned.fits and planned.seconds <= max_seconds, group):
        reason = f"{planned.route} factor: {readable(planned.bytes_needed)} of {readable(budget)}"
        return replace(exact_igs(problem, memory=memory), reason=reason)
    sizes = (
        f"{planned.num_rows} × {planned.num_parameters}: the {planned.route} factor takes "
        f"{readable(planned.bytes_needed)} of {readable(budget)} and about "
        f"{readable_time(planned.seconds)} of {readable_time(max_seconds)}"
    )
    against = _against_a_certificate(problem, budget, max_seconds, seed)
    if agreed_by_all(not against, group):
        certificate = saturation_certificate(problem, seed=seed, memory=memory)
        if certificate.full:
            reason = f"{sizes}; {len(certificate.columns)} parameters show full row rank"
            return saturated_igs(problem, certificate, reason)
        sizes += f"; {len(certificate.columns)} parameters show rank {certificate.rank_lower} only"
    elif against:
        sizes += f"; no certificate: {against}"
    found = matrixfree_igs(
        problem,
        tolerance=tolerance,
        heaviest=heaviest,
        probes=probes,
        seed=seed,
        max_seconds=max_seconds,
        memory=memory,
        checkpoint=checkpoint,
        group=group,
    )
    return replace(found, reason=f"{found.reason} ({sizes})")


def _against_a_certificate(problem: Problem, budget: int, max_seconds: float, seed: int) -> str:
    """Why none is tried: full row rank is impossible by structure, or it does not fit."""
    rows = problem.num_rows
    bound = rank_bound(problem)
    if bound.value < rows:
        return f"F has rank {bound.value} at most, by {bound.source}"
    if problem.num_parameters < COLUMNS_PER_ROW * rows:
        return f"it takes {COLUMNS_PER_ROW * rows} parameters"
    columns = random_columns(problem, COLUMNS_PER_ROW * rows, seed)
    columns = columns.to(problem.function.device)
    needed, seconds = compressed_bytes(problem, columns), compressed_seconds(problem, columns)
    if needed <= budget and seconds <= max_seconds:
        return ""
    return f"it takes {readable(needed)} and about {readable_time(seconds)}"
