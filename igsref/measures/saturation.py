"""IGS of a network that is shown to be saturated by a few columns of its Jacobian: the ceiling."""

import torch

from igsref.enclosure import Enclosure, combined
from igsref.geometry.compressed import SaturationCertificate
from igsref.jacobian.rounding import estimate_logit_error
from igsref.jacobian.running import logit_error
from igsref.measures.outputs import ceiling_end_at, lower_end_at, output_error_at
from igsref.measures.result import Result, problem_fields
from igsref.problem import Problem

METHOD = "compressed"
"""``Result.method`` of what a :class:`~igsref.geometry.compressed.SaturationCertificate` shows."""


def saturated_igs(problem: Problem, certificate: SaturationCertificate, reason: str) -> Result:
    """The result of a problem whose certificate shows full row rank: IGS = ceiling, G = IGS/N.

    Raises ValueError where it does not.
    """
    if not certificate.full:
        raise ValueError(
            f"certificate must show full row rank {problem.num_rows}; it shows "
            f"{certificate.rank_lower}"
        )
    verified = certificate.grade == "verified"
    error = logit_error(problem) if verified else estimate_logit_error(problem)
    outputs = output_error_at(problem, error)
    residuals = problem.residuals()
    most = ceiling_end_at(problem, residuals, outputs)
    lower = lower_end_at(problem, float(residuals.square().sum()), outputs)
    ceiling = problem.likelihood.ceiling(problem.labelled_logits, problem.targets)
    value = min(max(problem.weight * float(ceiling.sum()), lower), most)
    bounds = Enclosure(lower, value, most, certificate.grade)
    return Result(
        lower=lower,
        value=value,
        upper=most,
        grade=certificate.grade,
        ceiling=most,
        saturated=True,
        rank=certificate.rank_lower,
        rank_lower=certificate.rank_lower,
        rank_upper=certificate.rank_upper.value,
        rank_source=certificate.rank_upper.source,
        clear_rank=True,
        rounding_error=max(value - lower, most - value),
        full_batch=combined((1 / problem.num_samples, bounds)),
        method=METHOD,
        margin=certificate.smallest / max(certificate.error, torch.finfo(torch.float64).tiny),
        per_sample=(ceiling * problem.pool_size).cpu(),
        sample_ceiling=(ceiling * problem.pool_size).cpu(),
        reason=reason,
        **problem_fields(problem),
    )
