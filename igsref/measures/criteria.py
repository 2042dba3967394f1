"""Information criteria: by how much the loss on new samples exceeds the training loss.

E[test loss − training loss] ≈ (1/N) Tr(H⁻¹C) (Takeuchi 1976; equations (8) and (9)), in nats per
sample, for a model at a minimum of the mean loss of N samples: H its Hessian, C = (1/N) Σ g_iᵀg_i
the non-central covariance of the gradients. With F in the place of H it is IGS/N; where the model
is true C = H = F, and what is left is m/N (Akaike 1974). N times it is the effective number of
parameters; 2N times it is what the classical AIC and TIC add to −2 log-likelihood.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex, Unpack

from igsref.arguments import checked_integer
from igsref.curvature.factor import gradients
from igsref.curvature.hessian import hessian
from igsref.curvature.null_directions import regular_spectrum
from igsref.enclosure import Enclosure, combined
from igsref.geometry.metric import fisher_energy
from igsref.geometry.plan import require_dense
from igsref.jacobian.rows import level_of_caller
from igsref.measures.curvature_data import (
    NO_LABELS,
    fisher_curvature,
    labelled_curvature,
    refuse_pool,
)
from igsref.measures.igs import WORTH_A_WARNING, AccuracyWarning, exact_igs
from igsref.measures.measurement import Measurement
from igsref.measures.result import Result
from igsref.problem import ProblemOptions, as_problem

_POOL = ("fisher_data", "members", "rank_bound")


class CriterionWarning(UserWarning):
    """What an information criterion takes for granted does not hold."""


@dataclass(frozen=True, kw_only=True)
class Criterion(Measurement):
    """An expected generalisation gap, E[test loss − training loss], as ``value``.

    value: in nats per sample; added to the training loss it estimates the test loss.
    effective_parameters: N·value: Tr(H⁻¹C), Tr(F⁺C), or m.
    training_size: N, the number of samples that the model was fitted to.
    rank: of the metric. negative: how many eigenvalues of it are below 0 (of F none).
    outside: share Σ‖g_out‖²/Σ‖g‖² of the gradients' energy outside the range of the metric, of
        which value knows nothing.
    rounding_error: estimate of what rounding leaves of value open, absolute.
    enclosure: lower ≤ value ≤ upper, where the IGS came with one.
    """

    effective_parameters: float
    training_size: int
    rank: int
    negative: int = 0
    outside: float = 0.0
    rounding_error: float = 0.0
    enclosure: Enclosure | None = None


def tic(
    model: Any,
    data: Any = None,
    *,
    curvature_data: Any = None,
    training_size: SupportsIndex | None = None,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Criterion:
    """TIC, (1/N) Tr(H⁻¹C): equation (9), Takeuchi (1976), by the dense Hessian in float64.

    model, data, options: as for :func:`igsref.exact_igs`; data gives the gradients in C.
    curvature_data: labelled samples that H is the Hessian of the mean loss of, in the forms of
        data, or a ``Problem`` of the same network; data unless given.
    training_size: N, how many samples the model was fitted to; the size of data unless given, and
        wanted where curvature_data has another.
    memory: budget in bytes.

    Holds at a minimum. Warns with :class:`CriterionWarning` where H has negative eigenvalues, and
    with ``AccuracyWarning`` where rounding leaves the value known to less than 1e-6.
    Raises ValueError where H is singular to rounding, |λ| ≤ m·eps·‖H‖, naming the directions
    (ReLU networks have some at every minimum, softmax networks everywhere: :func:`fisher_tic`
    needs no inverse), and for ``fisher_data``, ``members`` and ``rank_bound``, which are no
    matters of H; otherwise as :func:`igsref.exact_igs`.

    >>> import torch
    >>> line = torch.nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = line.weight.fill_(2.0)
    >>> x, y = torch.ones(2, 1), torch.tensor([[1.0], [3.0]])  # H = 1, C = 1, N = 2
    >>> tic(line, (x, y), likelihood="gaussian").value
    0.5
    """
    _refuse(options, _POOL, "tic", "H is the Hessian of the loss of labelled samples")
    problem = as_problem(model, data, **options)
    refuse_pool(problem, NO_LABELS)
    curved = problem
    if curvature_data is not None:
        curved = labelled_curvature(model, curvature_data, problem, options)
    size = _training_size(training_size, problem.num_samples, curved.num_samples)
    eigenvalues, vectors, floor = regular_spectrum(curved, hessian(curved, memory=memory))
    components = gradients(problem) @ vectors
    x = components / eigenvalues
    trace = float((components * x).sum(dim=1).mean())
    doubt = 2 * floor * float(x.square().sum(dim=1).mean())
    negative = int((eigenvalues < 0).sum())
    if negative:
        _warn(
            CriterionWarning,
            f"{negative} of {len(eigenvalues)} eigenvalues of the Hessian are negative: this is no "
            "minimum of the loss, and the TIC holds at a minimum only",
        )
    _warn_of_rounding(doubt, trace, "the Hessian is nearly singular")
    return _criterion(
        trace, size, rank=len(eigenvalues), negative=negative, rounding_error=doubt / size
    )


def fisher_tic(
    model: Any,
    data: Any = None,
    *,
    curvature_data: Any = None,
    training_size: SupportsIndex | None = None,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Criterion:
    """TIC with the Fisher matrix, (1/N) Tr(F⁺C) = IGS/N: equation (9) with F for H.

    Equal to the TIC to first order where the model is true, or the logits are linear in θ and the
    loss is that of a canonical link, as igsref's are (then H = F); otherwise another number.

    data: gives the gradients in C.
    curvature_data: inputs that F is a mean over, in the forms that ``fisher_data`` takes, or
        labelled (a pair of tensors is (x, labels)), or a ``Problem`` of the same network; data
        unless given, and then the value is the IGS over N, with its enclosure. Unlike those of
        fisher_data, these inputs are not joined by those of data.
    training_size, memory: as for :func:`tic`. A ``Geometry`` may stand for model and data.

    Gradients of data that curvature_data does not contain may leave the range of F: of that part
    F⁺ knows nothing. Its share is ``outside`` and :class:`CriterionWarning` tells of it; the value
    counts what is inside, and unlike the IGS **it depends on the parametrisation**.
    Warns with ``CriterionWarning`` where the IGS is saturated, and with ``AccuracyWarning`` where
    rounding leaves the value known to less than 1e-6.
    Raises ValueError for ``fisher_data``, ``members`` or ``rank_bound`` beside curvature_data, and
    as :func:`igsref.exact_igs`.
    """
    if curvature_data is None:
        result = exact_igs(model, data, memory=memory, **options)
        if result.saturated:
            _warn(
                CriterionWarning,
                f"F has full row rank: its {result.num_rows} rows are independent, so that every "
                "gradient lies in its range and the value is a function of the losses alone. It "
                "says nothing of the landscape, nor of how the network generalizes",
            )
        return criterion_of(result, training_size=training_size)
    _refuse(options, _POOL, "fisher_tic with curvature_data", "that is where F comes from")
    problem, curved = fisher_curvature(model, data, curvature_data, options)
    size = _training_size(training_size, problem.num_samples, curved.pool_size)
    require_dense(curved, memory)
    found = fisher_energy(curved, gradients(problem))
    trace = float(found.inside.mean())
    _check_finite(trace, "F⁺")
    if found.leaves:
        _warn(
            CriterionWarning,
            f"{100 * found.share_outside:.3g}% of the energy of data's gradients lies outside the "
            f"range of curvature_data's F (rank {found.rank} of {problem.num_parameters}); the "
            "value knows nothing of that part, and depends on the parametrisation",
        )
    _warn_of_rounding(found.rounding_error, trace, "the spectrum of F runs into rounding")
    return _criterion(
        trace,
        size,
        rank=found.rank,
        outside=found.share_outside,
        rounding_error=found.rounding_error / size,
    )


def criterion_of(result: Result, *, training_size: SupportsIndex | None = None) -> Criterion:
    """IGS/N of an IGS that is known already; :func:`fisher_tic` of the same data."""
    size = _training_size(training_size, result.num_samples, result.num_samples)
    scaled, value = combined((1 / size, result.enclosure)), result.value / size
    lower, upper = min(scaled.lower, value), max(scaled.upper, value)
    return replace(
        _criterion(
            result.value, size, rank=result.rank, rounding_error=result.rounding_error / size
        ),
        uncertainty=max(upper - value, value - lower),
        kind="enclosed",
        bracket=(lower, upper),
        enclosure=Enclosure(lower, value, upper, scaled.grade),
    )


def aic(
    model: Any,
    data: Any = None,
    *,
    training_size: SupportsIndex | None = None,
    **options: Unpack[ProblemOptions],
) -> Criterion:
    """AIC's penalty in nats per sample, m/N: Akaike (1974).

    (The classical AIC is −2 log-likelihood + 2m: 2N times training loss plus m/N.) It counts every
    chosen parameter, redundant ones too; over labels that the model itself draws, the mean of
    :func:`fisher_tic` counts rank F instead (:func:`igsref.expected_igs`).

    Raises as :func:`igsref.as_problem`.

    >>> import torch
    >>> model, data = torch.nn.Linear(2, 1), (torch.zeros(6, 2), torch.zeros(6, 1))
    >>> aic(model, data, likelihood="bernoulli").value  # 3/6
    0.5
    """
    problem = as_problem(model, data, **options)
    size = _training_size(training_size, problem.num_samples, problem.num_samples)
    return _criterion(float(problem.num_parameters), size, rank=problem.num_parameters)


def _criterion(
    trace: float,
    size: int,
    *,
    rank: int,
    negative: int = 0,
    outside: float = 0.0,
    rounding_error: float = 0.0,
) -> Criterion:
    return Criterion(
        trace / size,
        effective_parameters=trace,
        training_size=size,
        rank=rank,
        negative=negative,
        outside=outside,
        rounding_error=rounding_error,
    )


def _refuse(options: ProblemOptions, names: tuple[str, ...], caller: str, reason: str) -> None:
    given = [name for name in names if options.get(name) is not None]
    if given:
        raise ValueError(f"{caller} takes no {given[0]}: {reason}; give curvature_data alone")


def _training_size(given: Any, labelled: int, curved: int) -> int:
    if given is None:
        if labelled != curved:
            raise ValueError(
                f"training_size must be given: data holds {labelled} samples, curvature_data "
                f"{curved}, and 1/N is about those that the model was fitted to"
            )
        return labelled
    return checked_integer("training_size", given, least=1)


def _check_finite(value: float, inverse: str) -> None:
    if not value < float("inf"):
        raise ArithmeticError(f"the gradients' energy in {inverse} overflows float64")


def _warn_of_rounding(doubt: float, value: float, reason: str) -> None:
    if doubt > WORTH_A_WARNING * abs(value):
        _warn(
            AccuracyWarning,
            f"float64 determines the effective number of parameters, {value:.6g}, to about "
            f"±{doubt:.1g} only: {reason}",
        )


def _warn(category: type[Warning], message: str) -> None:
    warnings.warn(message, category, stacklevel=level_of_caller())
