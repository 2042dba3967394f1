"""IGS, the information-geometric sharpness: equation (6) by leverage scores.

IGS = (1/N) Σ g_i F⁺ g_iᵀ = Σ v_iᵀ P v_i, v_i the whitened residual of sample i and P the projector
onto range(A): no Fisher matrix, no pseudo-inverse, and nothing that a change of parameters moves.
"""

import warnings
from typing import Any, Unpack

import torch
from torch import Tensor

from igsref.curvature.exact_bound import EXACT
from igsref.enclosure import Enclosure, combined
from igsref.geometry.access import as_geometry
from igsref.geometry.geometry import Geometry
from igsref.likelihoods.protocol import OutputError
from igsref.linalg.bracket import Bracket
from igsref.linalg.range import Dense
from igsref.measures.outputs import ceiling_end, enclose, output_error
from igsref.measures.result import Result, problem_fields
from igsref.problem import ProblemOptions

WORTH_A_WARNING = 1e-6
"""The share of a number that rounding may leave open without an :class:`AccuracyWarning`."""
_EXCESS = 1e-9


class AccuracyWarning(UserWarning):
    """Float64 does not determine a number to as many digits as a reader would take for granted."""


def exact_igs(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Result:
    """IGS of a classifier on data, by orthogonal factorisations in float64.

    model: any ``nn.Module`` in evaluation mode or a pair (function, params); with ``data``, a pair
        (x, y), a mapping with ``labels``, or an iterable of such batches. A ``Problem`` or a
        ``Geometry`` may stand for both.
    memory: budget in bytes (2 GiB, or what is free if that is less): decides on the route.
    options: as for :func:`igsref.as_problem` (``likelihood``, ``parameters``, ``fisher_data``, …).

    Returns a :class:`Result`. Jang, Lee, Park, Noh (NeurIPS 2022), equation (6).
    Warns with :class:`AccuracyWarning` where rounding leaves the value known to less than 1e-6.
    It cannot warn of directions that float64 hides without a trace: those of a tanh or sigmoid
    unit saturated on every sample, whose derivatives or differences lie below 1e-16 of the rest.
    Raises TypeError or ValueError that names the argument, such as a rank_bound below the rank
    that is proven; MemoryError, with the sizes, before anything large is allocated.
    """
    geometry = as_geometry(model, data, memory=memory, **options)
    problem = geometry.problem
    check_rank_bound(geometry)
    residuals = problem.residuals()
    ceiling = problem.likelihood.ceiling(problem.labelled_logits, problem.targets)
    check_ceiling(ceiling * problem.pool_size)
    outputs = output_error(geometry)
    energy = ceiling if geometry.saturated else geometry.sample_energy(residuals)
    energy, ceiling = _below_ceiling(energy, ceiling, outputs, problem.multiplicity())
    inside = geometry.bracket(geometry.in_blocks(residuals))
    most = ceiling_end(geometry, residuals, outputs)
    bounds = enclose(geometry, float(energy.sum()), inside, outputs).capped(most)
    rounding = _rounding_error(geometry, bounds, inside, outputs)
    _warn_of_rounding(rounding, bounds.value, geometry)
    return Result(
        lower=bounds.lower,
        value=bounds.value,
        upper=bounds.upper,
        grade=bounds.grade,
        ceiling=most,
        saturated=geometry.saturated,
        rank=geometry.space.dimension,
        rank_lower=geometry.rank_lower,
        rank_upper=geometry.rank_upper.value,
        rank_source=geometry.rank_upper.source,
        clear_rank=geometry.clear_rank,
        rounding_error=rounding,
        full_batch=full_batch(geometry, residuals, outputs, bounds.upper),
        method=geometry.route,
        margin=geometry.margin,
        per_sample=(energy * problem.pool_size).cpu(),
        sample_ceiling=(ceiling * problem.pool_size).cpu(),
        **problem_fields(problem),
    )


def full_batch(
    geometry: Geometry, residuals: Tensor, outputs: OutputError, most: float
) -> Enclosure:
    """G = ḡ F⁺ ḡᵀ = (N_F/N²) ‖P Σ_i v_i‖² ≤ IGS ≤ most, ḡ the full-batch gradient."""
    together = geometry.embedded(residuals[None])
    inside = geometry.bracket([Dense(together)])
    total = enclose(geometry, float(geometry.energy(together)[0]), inside, outputs)
    return combined((1 / len(residuals), total)).capped(most)


def check_rank_bound(geometry: Geometry) -> None:
    """Refuse a bound given by the user that the rank of F exceeds."""
    bound, rank = geometry.problem.known_rank, geometry.rank_lower
    exact = geometry.rank_upper.source == EXACT
    if exact:
        rank = geometry.rank_upper.value
    if bound is not None and bound < rank:
        shown = "proven" if exact or geometry.certificate.grade == "verified" else "estimated"
        raise ValueError(f"rank_bound={bound} is below the rank that is {shown}, {rank}")


def check_ceiling(ceiling: Tensor) -> None:
    """Refuse a sum of the samples' ceilings, (N,), that is no finite number."""
    if not bool(torch.isfinite(ceiling.sum())):
        heaviest = int(ceiling.argmax())
        raise ValueError(
            f"the ceiling overflows float64: sample {heaviest} alone adds "
            f"{float(ceiling[heaviest]):.3g}; its label is all but impossible to the model"
        )


def _below_ceiling(
    energy: Tensor, ceiling: Tensor, outputs: OutputError, multiplicity: Tensor
) -> tuple[Tensor, Tensor]:
    """Energies clamped at their ceilings, which they may exceed by rounding only; both.

    The ceiling of an input that is n times in the pool is an nth of ‖v_i‖²: rows that are equal
    have equal parts in any vector of the range.
    """
    allowed = (ceiling.sqrt() * (1 + _EXCESS) + 2 * outputs.residual).square()
    excess = energy - allowed * (1 + 2 * outputs.metric.max())
    if bool((excess > 0).any()) or not bool(torch.isfinite(energy).all()):
        worst = int(excess.argmax())
        raise ArithmeticError(
            f"internal error: sample {worst} has energy {float(energy[worst]):.17g} above its "
            f"ceiling {float(ceiling[worst]):.17g}; please report this network"
        )
    ceiling = ceiling / multiplicity
    return torch.minimum(energy, ceiling), ceiling


def _rounding_error(
    geometry: Geometry, bounds: Enclosure, inside: Bracket, outputs: OutputError
) -> float:
    """The wider side of what rounding leaves open, if a clear rank is the rank."""
    upper = bounds.upper
    if geometry.clear_rank and geometry.space.dimension == 0:
        return 0.0
    if geometry.clear_rank:
        upper = min(upper, enclose(geometry, 0.0, inside.at_rank(), outputs).upper)
    return max(bounds.value - bounds.lower, upper - bounds.value)


def _warn_of_rounding(rounding: float, value: float, geometry: Geometry) -> None:
    if rounding <= WORTH_A_WARNING * value:
        return
    reason = (
        "directions of the smallest class probabilities are known too badly"
        if geometry.clear_rank
        else "the spectrum of F runs into rounding without a gap"
    )
    warnings.warn(
        f"float64 determines this IGS, {value:.6g}, to about ±{rounding:.1g} only: {reason}",
        AccuracyWarning,
        stacklevel=3,
    )


def expected_igs(model: Any, data: Any = None, **options: Unpack[ProblemOptions]) -> float:
    """E_{y~p}[IGS] over labels that the model itself would draw: tr P = rank F.

    With a pool, (N_F/N) times the part of tr P that belongs to the labelled samples.

    Each label's IGS is computed and weighted by its probability, so that comparing the sum with
    the rank checks residuals and projector against each other. For countable labels only.
    Raises ValueError where the likelihood has no countable labels.
    """
    geometry = as_geometry(model, data, **options)
    problem = geometry.problem
    labels = problem.likelihood.label_distribution(problem.labelled_logits)
    if not labels:
        raise ValueError(f"expected_igs needs countable labels; {problem.likelihood.name} has none")
    terms = [
        probability
        @ geometry.sample_energy(problem.likelihood.residual(problem.labelled_logits, targets))
        for probability, targets in labels
    ]
    return problem.weight * float(torch.stack(terms).sum())
