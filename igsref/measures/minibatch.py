"""IGS_b, the sharpness that mini-batch gradients see: equation (7) and the paper's Appendix C.

IGS_b = E_B[ḡ_B F⁺ ḡ_Bᵀ], ḡ_B the mean gradient of a batch B of size b. For uniform batches it
follows from IGS and G = ḡ F⁺ ḡᵀ; for any other distribution of batches, by sampling.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex, Unpack

import torch
from torch import Tensor

from igsref.arguments import checked_integer
from igsref.enclosure import Enclosure, combined
from igsref.geometry.access import as_geometry
from igsref.geometry.geometry import Geometry
from igsref.problem import ProblemOptions

_BATCHES_AT_ONCE = 512
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def minibatch_igs(
    igs: Enclosure,
    full_batch: Enclosure,
    num_samples: int,
    batch_size: SupportsIndex,
    *,
    replacement: bool,
) -> Enclosure:
    """IGS_b in closed form for uniform batches, with an enclosure: all weights are ≥ 0, G ≤ IGS.

    With replacement IGS/b + (1 − 1/b) G; without IGS (N−b)/(b(N−1)) + G N(b−1)/(b(N−1)), so that
    b = 1 gives the IGS and b = N gives G. Cutting an epoch into batches is "without" only if b
    divides N.

    Raises TypeError unless batch_size is an integer, ValueError for b < 1 or for b > N without
    replacement.

    >>> igs, full = (Enclosure(x, x, x, "verified") for x in (8.0, 2.0))
    >>> [float(minibatch_igs(igs, full, 4, b, replacement=False)) for b in (1, 2, 4)]
    [8.0, 4.0, 2.0]
    """
    b, n = checked_batch_size(batch_size, num_samples, replacement), num_samples
    if replacement:
        return combined((1 / b, igs), (1 - 1 / b, full_batch)).capped(igs.upper)
    if n == 1:
        return igs
    own, together = (n - b) / (b * (n - 1)), n * (b - 1) / (b * (n - 1))
    return combined((own, igs), (together, full_batch)).capped(igs.upper)


def checked_batch_size(batch_size: SupportsIndex, num_samples: int, replacement: bool) -> int:
    """The size of a batch of N samples. Raises TypeError or ValueError as `minibatch_igs`."""
    size = checked_integer("batch_size", batch_size, least=1)
    if not replacement and size > num_samples:
        raise ValueError(
            f"batch_size must be at most N = {num_samples} without replacement; got {size}"
        )
    return size


@dataclass(frozen=True)
class MonteCarlo:
    """A mean over sampled batches, its standard error, and how many there were."""

    value: float
    standard_error: float
    count: int

    def __float__(self) -> float:
        return self.value


def monte_carlo_minibatch_igs(
    model: Any,
    data: Any = None,
    *,
    batches: Iterable[Sequence[int] | Tensor],
    **options: Unpack[ProblemOptions],
) -> MonteCarlo:
    """IGS_b for batches of any distribution: the mean of ḡ_B F⁺ ḡ_Bᵀ over those given.

    batches: each the indices of its samples (repetitions count); sizes may differ.
    options: as for ``igsref.as_problem``; a Problem or Geometry may stand for (model, data).
    Raises ValueError for no batch, an empty one, one that holds no integers, or an index out of
    range.
    """
    geometry = as_geometry(model, data, **options)
    residuals = geometry.problem.residuals()
    energies: list[Tensor] = []
    waiting: list[Tensor] = []
    for number, batch in enumerate(batches):
        waiting.append(_batch_weights(batch, number, len(residuals)))
        if len(waiting) == _BATCHES_AT_ONCE:
            energies.append(_energies(geometry, residuals, waiting))
            waiting = []
    if waiting:
        energies.append(_energies(geometry, residuals, waiting))
    if not energies:
        raise ValueError("batches must hold at least one batch; got none")
    sampled = torch.cat(energies)
    error = float(sampled.std() / len(sampled) ** 0.5) if len(sampled) > 1 else float("inf")
    return MonteCarlo(float(sampled.mean()), error, len(sampled))


def _batch_weights(batch: Sequence[int] | Tensor, number: int, num_samples: int) -> Tensor:
    """How much each sample counts in the batch's mean, (N,)."""
    try:
        indices = torch.as_tensor(batch).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"batches must hold non-empty lists of sample indices; batch {number} is a "
            f"{type(batch).__name__} ({error})"
        ) from error
    if indices.ndim != 1 or len(indices) == 0 or indices.dtype not in _INTEGERS:
        raise ValueError(
            f"batches must hold non-empty lists of sample indices; batch {number} has shape "
            f"{tuple(indices.shape)} and dtype {indices.dtype}"
        )
    if int(indices.min()) < 0 or int(indices.max()) >= num_samples:
        raise ValueError(
            f"batches must hold indices in 0..{num_samples - 1}; batch {number} has "
            f"{int(indices.min())}..{int(indices.max())}"
        )
    return torch.bincount(indices, minlength=num_samples).double() / len(indices)


def _energies(geometry: Geometry, residuals: Tensor, weights: list[Tensor]) -> Tensor:
    """N_F ‖P w_B‖², w_B the mean of the batch's residuals in data space."""
    stacked = torch.stack(weights).to(residuals)
    vectors = geometry.embedded(stacked[:, :, None] * residuals)
    return geometry.problem.pool_size * geometry.energy(vectors)
