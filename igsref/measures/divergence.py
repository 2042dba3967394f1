"""What F measures: the Kullback–Leibler divergence between nearby networks, equation (3)."""

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor

from igsref.curvature.factor import reduced_factor
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
    Raises ValueError where its names or shapes differ from θ's.
    """
    problem = as_problem(model, data, **options)
    moved = {
        name: value + change
        for (name, value), change in zip(
            problem.function.parameters.items(), _named_step(problem, step), strict=True
        )
    }
    return float(problem.likelihood.divergence(problem.logits, problem.at(moved)).mean())


def fisher_quadratic(
    model: Any,
    data: Any = None,
    *,
    step: Mapping[str, Tensor] | Tensor,
    **options: Unpack[ProblemOptions],
) -> float:
    """½ stepᵀ F step, the right side of (3): KL(θ ‖ θ+step) up to third order."""
    problem = as_problem(model, data, **options)
    flat = torch.cat([change.flatten() for change in _named_step(problem, step)])
    return 0.5 * float((reduced_factor(problem) @ flat).square().sum()) / problem.num_samples


def _named_step(problem: Problem, step: Mapping[str, Tensor] | Tensor) -> list[Tensor]:
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
