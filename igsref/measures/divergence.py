"""What F measures: the Kullback–Leibler divergence between nearby networks, equation (3)."""

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor

from igsref.curvature.factor import reduced_factor
from igsref.geometry.plan import require_dense
from igsref.problem import Problem, ProblemOptions, as_problem


def kl_divergence(
    model: Any,
    data: Any = None,
    *,
    step: Mapping[str, Tensor] | Tensor,
    **options: Unpack[ProblemOptions],
) -> float:
    """Mean KL between the outputs at θ and at θ + step, in nats, exactly: the left side of (3).

    step: tensors named as θ, or one flat vector (m,).
    Raises TypeError for a step that is neither; ValueError where its names or shapes differ from
    θ's, or where it is not finite.
    """
    problem = as_problem(model, data, **options)
    changes = _named_step(problem, step)
    moved = {
        name: value + change
        for (name, value), change in zip(problem.function.parameters.items(), changes, strict=True)
    }
    return float(problem.likelihood.divergence(problem.logits, problem.at(moved)).mean())


def fisher_quadratic(
    model: Any,
    data: Any = None,
    *,
    step: Mapping[str, Tensor] | Tensor,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> float:
    """½ stepᵀ F step, the right side of (3): KL(θ ‖ θ+step) up to third order.

    step: as for ``igsref.kl_divergence``. memory: budget in bytes.
    Raises TypeError or ValueError for a step that is none, as ``igsref.kl_divergence`` does;
    MemoryError, with the sizes, where the factor does not fit.
    """
    problem = as_problem(model, data, **options)
    flat = torch.cat([change.flatten() for change in _named_step(problem, step)])
    require_dense(problem, memory)
    return 0.5 * float((reduced_factor(problem) @ flat).square().sum()) / problem.pool_size


def _named_step(problem: Problem, step: Mapping[str, Tensor] | Tensor) -> list[Tensor]:
    """The step's tensors in θ's order, shape and dtype, checked."""
    _check_step(step)
    theta = problem.function.parameters
    if isinstance(step, Tensor):
        if step.shape != (problem.num_parameters,):
            raise ValueError(
                f"step must have shape ({problem.num_parameters},); got {tuple(step.shape)}"
            )
        parts = step.double().split([value.numel() for value in theta.values()])
        return [
            part.view_as(value).to(value) for part, value in zip(parts, theta.values(), strict=True)
        ]
    shapes = {name: tuple(value.shape) for name, value in theta.items()}
    given = {name: tuple(value.shape) for name, value in step.items()}
    if given != shapes:
        raise ValueError(f"step must have θ's names and shapes {shapes}; got {given}")
    return [step[name].to(value) for name, value in theta.items()]


def _check_step(step: Any) -> None:
    if isinstance(step, Tensor):
        named = {"step": step}
    elif isinstance(step, Mapping):
        named = {f"step[{name!r}]": value for name, value in step.items()}
    else:
        raise TypeError(
            f"step must be a tensor or a mapping from θ's names to tensors; got {step!r}"
        )
    for name, value in named.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor; got {type(value).__name__}")
        if value.is_complex():
            raise TypeError(f"{name} must be real; got dtype {value.dtype}")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} must be finite; it holds infinities or NaN")
