"""Samples in batches that fit into memory, in the dtype that derivatives are taken in."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from igsref.curvature.hessian import saved_per_sample
from igsref.memory import available_memory, batch_bytes
from igsref.model import LogitFunction
from igsref.problem import Problem
from igsref.randomness import preserved_random_state

_BATCH_BYTES = 2**29
_SHARE = 4
"""A batch takes at most a quarter of what is free."""
_LARGEST_BATCH = 1024


def batch_size(problem: Problem, dtype: torch.dtype, copies: int) -> int:
    """Samples at a time where each is alive ``copies`` times with all it saves for the way back."""
    with preserved_random_state():
        per_sample = dtype.itemsize * saved_per_sample(problem) * copies
    device = problem.function.device
    most = min(batch_bytes(device, _BATCH_BYTES), available_memory(device) // _SHARE)
    return max(1, min(_LARGEST_BATCH, most // per_sample))


def function_in(problem: Problem, dtype: torch.dtype) -> LogitFunction:
    """The problem's function in a dtype: itself, or made again from its source."""
    function = problem.function
    return function if dtype == problem.logits.dtype else function.source(dtype)


def batch_logits(
    problem: Problem,
    function: LogitFunction,
    theta: Mapping[str, Tensor],
    samples: Int64[Tensor, " samples"],
) -> Float[Tensor, "samples classes"]:
    """Logits of some inputs of the pool at θ, inputs in θ's dtype."""
    dtype = next(iter(theta.values())).dtype
    args, kwargs = problem.samples.inputs(samples)

    def cast(value: Tensor) -> Tensor:
        return value.to(dtype) if value.is_floating_point() else value

    return function.call(
        theta,
        tuple(cast(value) for value in args),
        {key: cast(value) for key, value in kwargs.items()},
    )
