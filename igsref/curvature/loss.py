"""The training loss as a function of θ: L(θ) = (1/N) Σ l_i, in nats."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.flat import flatten, unflatten
from igsref.problem import Problem


def sample_losses(problem: Problem, theta: Mapping[str, Tensor]) -> Float[Tensor, " samples"]:
    """l_i of every labelled sample at θ, differentiable as often as the model is; (N,)."""
    args, kwargs = problem.samples.inputs(problem.members.cpu())
    logits = problem.function.call(theta, args, kwargs)
    return problem.likelihood.loss(logits, problem.targets)


def loss_of_vector(problem: Problem) -> Callable[[Tensor], Tensor]:
    """θ as one vector (m,) ↦ mean loss of the labelled samples."""

    def loss(flat: Tensor) -> Tensor:
        return sample_losses(problem, unflatten(flat, problem.function.parameters)).mean()

    return loss


def parameter_vector(problem: Problem) -> Float[Tensor, " params"]:
    """θ as one vector, (m,)."""
    return flatten(problem.function.parameters)


def loss_gradient(problem: Problem) -> Float[Tensor, " params"]:
    """ḡ = ∂L/∂θ, the full-batch gradient, (m,)."""
    return torch.func.grad(loss_of_vector(problem))(parameter_vector(problem))
