"""Rows of K_i J_i for every sample: exact derivatives, many samples at once.

``vmap`` over samples of one vector-Jacobian product a row (``torch.func.vjp``). A model that vmap
refuses, because its operations look at values or have no batching rule, falls back on
:mod:`igsref.jacobian.fallback`: a loop over samples with the same digits. What was refused once is
looped over ever after, without another attempt or warning.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from traceback import walk_stack
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from igsref.jacobian.fallback import is_out_of_memory, looped_rows
from igsref.model import LogitFunction
from igsref.problem import Problem
from igsref.progress import SECONDS_BEFORE_PROGRESS
from igsref.randomness import preserved_random_state

CHUNK_BYTES = 2**26
_LARGEST_CHUNK = 512

_refused: WeakSet[Callable[[torch.dtype], LogitFunction]] = WeakSet()
"""Sources of the functions that vmap refused."""


def jacobian_rows(
    problem: Problem,
    cotangents: Float[Tensor, "samples rows classes"],
    *,
    theta: Mapping[str, Tensor] | None = None,
    samples: Tensor | None = None,
    columns: slice | None = None,
) -> Float[Tensor, "stacked params"]:
    """K_i J_i for each sample i, stacked in the samples' order; columns in θ's order.

    cotangents: K, shape (N_F, R, C), for all inputs of the problem's pool.
    theta: where to differentiate (the problem's own θ unless given).
    samples: indices of the samples wanted (all unless given).
    columns: which columns to keep (all unless given).

    Warns with RuntimeWarning, once a problem, when the model cannot be vmapped.
    """
    indices = torch.arange(problem.pool_size) if samples is None else samples.cpu()
    height = cotangents.shape[1]
    theta = problem.function.parameters if theta is None else theta
    kept = range(problem.num_parameters)[columns or slice(None)]
    out = cotangents.new_empty((len(indices) * height, len(kept)))
    for start, rows in _chunks(problem, cotangents, theta, indices):
        out[start * height : start * height + len(rows)] = rows[:, kept.start : kept.stop]
    return out


def _chunks(
    problem: Problem, cotangents: Tensor, theta: Mapping[str, Tensor], indices: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """(first sample, rows) chunk by chunk, with a progress bar when it takes long."""
    size = chunk_size(cotangents.shape[1] * problem.num_parameters * cotangents.element_size())
    with (
        preserved_random_state(),
        tqdm(
            total=len(indices),
            desc="Jacobian rows",
            unit="sample",
            delay=SECONDS_BEFORE_PROGRESS,
            leave=False,
            disable=None,
        ) as progress,
    ):
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size].to(cotangents.device)
            yield start, _rows_of(problem, theta, chosen, cotangents[chosen])
            progress.update(len(chosen))


def chunk_size(bytes_per_sample: int, most: int = CHUNK_BYTES) -> int:
    """Samples whose rows are computed at once, in ``most`` bytes."""
    return max(1, min(_LARGEST_CHUNK, most // max(1, bytes_per_sample)))


def _rows_of(
    problem: Problem, theta: Mapping[str, Tensor], chosen: Tensor, cotangents: Tensor
) -> Float[Tensor, "stacked params"]:
    """The rows of the chosen samples, by vmap if the model lets it."""
    if problem.function.source in _refused:
        return looped_rows(problem, theta, chosen, cotangents)
    try:
        return _batched_rows(problem, theta, chosen, cotangents)
    except Exception as error:  # whatever it is, the loop has the last word
        if is_out_of_memory(error):
            raise
        rows = looped_rows(problem, theta, chosen, cotangents)
        _refused.add(problem.function.source)
        _warn_of_loop(error)
        return rows


def _warn_of_loop(error: Exception) -> None:
    reason = str(error).strip().splitlines()
    warnings.warn(
        "model cannot be vmapped; looping over samples instead, with the same result but slower "
        f"({type(error).__name__}: {reason[0][:200] if reason else 'no message'})",
        RuntimeWarning,
        stacklevel=level_of_caller(),
    )


def level_of_caller() -> int:
    """The ``stacklevel``, seen from the function that asks, of whoever called the library."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_stack(sys._getframe())]
    return 1 + max(i for i, name in enumerate(modules) if name.split(".")[0] == "igsref")


def _batched_rows(
    problem: Problem, theta: Mapping[str, Tensor], chosen: Tensor, cotangents: Tensor
) -> Float[Tensor, "stacked params"]:
    args, kwargs = problem.samples.inputs(chosen)
    height = cotangents.shape[1]

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
        flat = [value.reshape(height, theta[name].numel()) for name, value in gradients.items()]
        return torch.cat(flat, dim=1)

    with _batching_rules():
        rows = torch.func.vmap(sample_rows)(args, kwargs, cotangents)
    return rows.flatten(0, 1).detach()


@contextmanager
def _batching_rules() -> Iterator[None]:
    """Attention in the form that vmap can batch; no advice on operations that it cannot."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield
