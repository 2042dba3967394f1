"""The Hessian of the training loss as an operator: H V without forming H.

Column by column, twice backwards: ∂/∂θ ⟨∂L/∂θ, v⟩, summed over batches of the labelled samples in
the same order every time. Derivatives may be taken in float32; sums and results are float64.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.batches import batch_logits, batch_size, function_in
from igsref.curvature.hessian import second_derivative_rules
from igsref.flat import flatten, unflatten
from igsref.model import LogitFunction
from igsref.precision import full_float32
from igsref.problem import Problem
from igsref.randomness import preserved_random_state

_LIVE = 4
"""Copies of a sample's saved activations that are alive in the derivative of a derivative."""


@dataclass(frozen=True, eq=False)
class HessianOperator:
    """H = (1/N) Σ ∂²l_i/∂θ² over the labelled samples, ``batch`` at a time."""

    problem: Problem
    function: LogitFunction
    batch: int

    def product(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """H V."""
        out = torch.zeros_like(vectors)
        with preserved_random_state(), full_float32(), second_derivative_rules():
            for start in range(0, self.problem.num_samples, self.batch):
                out += self._part(slice(start, start + self.batch), vectors)
        return out / self.problem.num_samples

    def _part(self, place: slice, vectors: Tensor) -> Tensor:
        """Σ ∂²l_i/∂θ² V over one batch."""
        theta = self.function.parameters
        dtype = next(iter(theta.values())).dtype
        leaves = {name: value.detach().requires_grad_(True) for name, value in theta.items()}
        with torch.enable_grad():
            loss = self._loss(leaves, place)
            gradient = torch.autograd.grad(
                loss, list(leaves.values()), create_graph=True, materialize_grads=True
            )
        columns = []
        for column in vectors.mT.to(dtype):
            along = unflatten(column, theta).values()
            pairs = [(g, v) for g, v in zip(gradient, along, strict=True) if g.requires_grad]
            found = torch.autograd.grad(
                [g for g, _ in pairs],
                list(leaves.values()),
                [v for _, v in pairs],
                retain_graph=True,
                materialize_grads=True,
            )
            columns.append(flatten(dict(zip(theta, found, strict=True))))
        return torch.stack(columns, dim=1).to(vectors)

    def _loss(self, leaves: dict[str, Tensor], place: slice) -> Tensor:
        problem = self.problem
        members = problem.members[place].cpu()
        logits = batch_logits(problem, self.function, leaves, members)
        return problem.likelihood.loss(logits, problem.targets[place].to(logits)).sum()


def hessian_operator(problem: Problem, *, dtype: torch.dtype = torch.float64) -> HessianOperator:
    """The Hessian of a problem's training loss as an operator, batches chosen from memory.

    dtype: what derivatives are taken in.
    """
    batch = batch_size(problem, dtype, _LIVE)
    return HessianOperator(problem, function_in(problem, dtype), batch)
