"""Rows of K_i J_i for every sample: exact derivatives, many samples at once.

``vmap`` over samples of one vector-Jacobian product a row (``torch.func.vjp``). A model that vmap
refuses, because its operations look at values or have no batching rule, falls back on
:mod:`igsref.jacobian.fallback`: a loop over samples with the same digits.
"""

import warnings
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from igsref.jacobian.fallback import looped_rows
from igsref.problem import Problem
from igsref.randomness import preserved_random_state

_CHUNK_BYTES = 2**26
_LARGEST_CHUNK = 512
_SECONDS_BEFORE_PROGRESS = 2.0


def jacobian_rows(
    problem: Problem,
    cotangents: Float[Tensor, "samples rows classes"],
    *,
    theta: Mapping[str, Tensor] | None = None,
    samples: Tensor | None = None,
) -> Float[Tensor, "chosen*rows params"]:
    """K_i J_i for each sample i, stacked in the samples' order; columns in θ's order.

    cotangents: K, shape (N, R, C), for all N samples of the problem.
    theta: where to differentiate (the problem's own θ unless given).
    samples: indices of the samples wanted (all unless given).

    Warns with RuntimeWarning, once a call, when the model cannot be vmapped.
    """
    indices = torch.arange(problem.num_samples) if samples is None else samples.cpu()
    height = cotangents.shape[1]
    theta = problem.function.parameters if theta is None else theta
    out = cotangents.new_empty((len(indices) * height, problem.num_parameters))
    for start, rows in _chunks(problem, cotangents, theta, indices):
        out[start * height : start * height + len(rows)] = rows
    return out


def _chunks(
    problem: Problem, cotangents: Tensor, theta: Mapping[str, Tensor], indices: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """(first sample, rows) chunk by chunk, with a progress bar when it takes long."""
    evaluate = _batched_rows
    size = chunk_size(cotangents.shape[1] * problem.num_parameters * cotangents.element_size())
    with (
        preserved_random_state(),
        tqdm(
            total=len(indices),
            desc="Jacobian rows",
            unit="sample",
            delay=_SECONDS_BEFORE_PROGRESS,
            leave=False,
        ) as progress,
    ):
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size].to(cotangents.device)
            try:
                rows = evaluate(problem, theta, chosen, cotangents[chosen])
            except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
                if evaluate is looped_rows or _is_out_of_memory(error):
                    raise
                evaluate = looped_rows
                rows = evaluate(problem, theta, chosen, cotangents[chosen])
                _warn_of_loop(error)
            yield start, rows
            progress.update(len(chosen))


def chunk_size(bytes_per_sample: int) -> int:
    """Samples whose rows are computed at once."""
    return max(1, min(_LARGEST_CHUNK, _CHUNK_BYTES // max(1, bytes_per_sample)))


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _warn_of_loop(error: Exception) -> None:
    reason = str(error).strip().splitlines()
    warnings.warn(
        "model cannot be vmapped; looping over samples instead, with the same result but slower "
        f"({type(error).__name__}: {reason[0][:200] if reason else 'no message'})",
        RuntimeWarning,
        stacklevel=5,
    )


def _batched_rows(
    problem: Problem, theta: Mapping[str, Tensor], chosen: Tensor, cotangents: Tensor
) -> Float[Tensor, "chosen*rows params"]:
    args, kwargs = problem.samples.inputs(chosen)

    def sample_rows(
        args: tuple[Tensor, ...], kwargs: dict[str, Tensor], cotangents: Tensor
    ) -> Tensor:
        def logits(theta: dict[str, Tensor]) -> Tensor:
            single = {key: value.unsqueeze(0) for key, value in kwargs.items()}
            return problem.function.call(
                theta, tuple(value.unsqueeze(0) for value in args), single
            ).squeeze(0)

        pull_back = torch.func.vjp(logits, dict(theta))[1]
        (gradients,) = torch.func.vmap(pull_back)(cotangents)
        return torch.cat([value.flatten(1) for value in gradients.values()], dim=1)

    rows = torch.func.vmap(sample_rows)(args, kwargs, cotangents)
    return rows.flatten(0, 1).detach()
