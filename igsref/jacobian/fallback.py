"""Jacobian rows one sample at a time, by plain autograd: for models that vmap refuses."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.problem import Problem


def looped_rows(
    problem: Problem,
    theta: Mapping[str, Tensor],
    chosen: Tensor,
    cotangents: Float[Tensor, "chosen rows classes"],
) -> Float[Tensor, "stacked params"]:
    """K_i J_i of the chosen samples: one forward pass a sample, one backward pass a row.

    Raises ValueError, with the sample, where the model has no derivative that autograd can take.
    """
    blocks = [
        _named_rows(problem, theta, chosen[i : i + 1], cotangents[i]) for i in range(len(chosen))
    ]
    return torch.cat(blocks)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory is used up, which torch tells in several ways."""
    return isinstance(
        error, torch.OutOfMemoryError | MemoryError
    ) or "can't allocate memory" in str(error)


def _named_rows(
    problem: Problem, theta: Mapping[str, Tensor], index: Tensor, cotangents: Tensor
) -> Float[Tensor, "rows params"]:
    """Rows of one sample; what the model or autograd raises, with a word on where."""
    try:
        return _sample_rows(problem, theta, index, cotangents)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"model could not be differentiated at sample {int(index)} of data: "
            f"{type(error).__name__}: {error}"
        ) from error


def _sample_rows(
    problem: Problem, theta: Mapping[str, Tensor], index: Tensor, cotangents: Tensor
) -> Float[Tensor, "rows params"]:
    leaves = {name: value.detach().requires_grad_(True) for name, value in theta.items()}
    with torch.enable_grad():
        logits = problem.function.call(leaves, *problem.samples.inputs(index))[0]
    rows = []
    for cotangent in cotangents:
        gradients = torch.autograd.grad(
            logits, list(leaves.values()), cotangent, retain_graph=True, allow_unused=True
        )
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(leaf) if gradient is None else gradient).flatten()
                    for leaf, gradient in zip(leaves.values(), gradients, strict=True)
                ]
            )
        )
    return torch.stack(rows)
