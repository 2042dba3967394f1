"""The Hessian of the training loss as an operator: H V without forming H.

Column by column, twice backwards: ∂/∂θ ⟨∂L/∂θ, v⟩, summed over batches of the labelled samples in
the same order every time. Derivatives may be taken in float32; sums and results are float64.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.hessian import saved_per_sample, second_derivative_rules
from igsref.flat import flatten, unflatten
from igsref.memory import available_memory
from igsref.model import LogitFunction
from igsref.problem import Problem
from igsref.randomness import preserved_random_state

_BATCH_BYTES = 2**29
_SHARE = 4
_LIVE = 4
"""Copies of a sample's saved activations that are alive in the derivative of a derivative."""
_LARGEST_BATCH = 1024


@dataclass(frozen=True, eq=False)
class HessianOperator:
    """H = (1/N) Σ ∂²l_i/∂θ² over the labelled samples, ``batch`` at a time."""

    problem: Problem
    function: LogitFunction
    batch: int

    def product(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "params k"]:
        """H V."""
        out = torch.zeros_like(vectors)
        with preserved_random_state(), second_derivative_rules():
            for start in range(0, self.problem.num_samples, self.batch):
                out += self._part(slice(start, start + self.batch), vectors)
        return out / self.problem.num_samples

    def _part(self, place: slice, vectors: Tensor) -> Tensor:
        """Σ ∂²l_i/∂θ² V over one batch."""
        theta = self.function.parameters
        dtype = next(iter(theta.values())).dtype
        leaves = {name: value.detach().requires_grad_(True) for name, value in theta.items()}
        with torch.enable_grad():
            loss = self._loss(leaves, place, dtype)
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

    def _loss(self, leaves: dict[str, Tensor], place: slice, dtype: torch.dtype) -> Tensor:
        problem = self.problem
        args, kwargs = problem.samples.inputs(problem.members[place].cpu())

        def cast(value: Tensor) -> Tensor:
            return value.to(dtype) if value.is_floating_point() else value

        logits = self.function.call(
            leaves,
            tuple(cast(value) for value in args),
            {key: cast(value) for key, value in kwargs.items()},
        )
        return problem.likelihood.loss(logits, problem.targets[place].to(dtype)).sum()


def hessian_operator(problem: Problem, *, dtype: torch.dtype = torch.float64) -> HessianOperator:
    """The Hessian of a problem's training loss as an operator, batches chosen from memory.

    dtype: what derivatives are taken in.
    """
    function = problem.function
    if dtype != problem.logits.dtype:
        function = function.source(dtype)
    per_sample = dtype.itemsize * _LIVE * saved_per_sample(problem)
    free = available_memory(function.device) // _SHARE
    batch = max(1, min(_LARGEST_BATCH, min(_BATCH_BYTES, free) // per_sample))
    return HessianOperator(problem, function, batch)
