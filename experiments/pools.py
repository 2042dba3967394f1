"""Pools of images without labels that F is a mean over, and the IGS of labelled images in one.

IGS = (N_F/N) Σ ‖P v_i‖² over N labelled images, P the projector onto the range of the factor of all
N_F images of the pool; its ceiling is (N_F/N) Σ ‖v_i‖².
"""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import igsref
from experiments.data import generator
from experiments.recipes import Fitted
from experiments.training import augmented

MEMORY = 5 * 2**30
ENOUGH = 0.9
"""Saturation below which a pool counts as large enough."""
IMAGES, COPIES = "images", "copies"
SHIFT = 4
"""Pixels by which copies of the labelled images are moved, at most."""


@dataclass(frozen=True)
class Point:
    """One pool: its kind and size, rank of F and its bound by structure, IGS, ceiling, CPU time.

    bracket: lower and upper end and their grade, where they were asked for.
    """

    kind: str
    pool_size: int
    rows: int
    parameters: int
    rank: int
    rank_bound: int
    value: float
    ceiling: float
    seconds: float
    bracket: tuple[float, float, str] | None = None

    @property
    def ratio(self) -> float:
        """N_F(C − 1)/m."""
        return self.rows / self.parameters

    @property
    def saturation(self) -> float:
        """IGS over its ceiling."""
        return self.value / self.ceiling


def pool(kind: str, images: Tensor, labelled: int, size: int) -> Tensor:
    """The labelled images, which come first, and as many others as make ``size``.

    Copies are mirrored with probability ½ and moved by up to ``SHIFT`` pixels along each axis.
    """
    own, missing = images[:labelled], size - labelled
    if kind == IMAGES:
        others = images[labelled:size]
    else:
        repeated = own.repeat(-(-missing // labelled), 1, 1, 1)[:missing]
        others = augmented(repeated, generator("pool copies"), flips=True, crops=SHIFT)
    if len(others) < missing:
        raise ValueError(f"a pool of {size} images was asked for; there are {len(images)}")
    return torch.cat([own, others])


def pool_size(model: nn.Module, ratio: float, num_classes: int) -> int:
    """N_F for which N_F(C − 1) is about ratio × m."""
    parameters = sum(tensor.numel() for tensor in model.parameters())
    return round(ratio * parameters / (num_classes - 1))


def labelled_and_pool(
    kind: str, trained: Fitted, labelled: int, ratio: float
) -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
    """Data and options of igsref for a pool of this kind and relative size."""
    x, y = (part[:labelled] for part in trained.data.data)
    size = max(labelled, pool_size(trained.model, ratio, trained.data.num_classes))
    inputs = pool(kind, trained.data.images, labelled, size)
    return (x, y), {"fisher_data": inputs, "members": torch.arange(labelled), "memory": MEMORY}


def measured(kind: str, trained: Fitted, labelled: int, ratio: float, *, prove: bool) -> Point:
    """IGS of the labelled images in a pool, by a dense factorisation; with its bracket or without.

    Where it is asked for, the CPU time holds that of the bracket.
    """
    data, options = labelled_and_pool(kind, trained, labelled, ratio)
    began = time.process_time()
    geometry = igsref.as_geometry(trained.model, data, **options)
    problem = geometry.problem
    energy = geometry.sample_energy(problem.residuals())
    bracket = None
    if prove:
        result = igsref.exact_igs(geometry)
        bracket = result.lower, result.upper, result.grade
    seconds = time.process_time() - began
    most = problem.likelihood.ceiling(problem.labelled_logits, problem.targets)
    ceiling = most / problem.multiplicity()
    return Point(
        kind,
        problem.pool_size,
        problem.num_rows,
        problem.num_parameters,
        geometry.space.dimension,
        geometry.structural.value,
        problem.weight * float(torch.minimum(energy, ceiling).sum()),
        problem.weight * float(ceiling.sum()),
        seconds,
        bracket,
    )


def crossing(points: list[Point]) -> tuple[float, float] | None:
    """The ratios of neighbouring sizes between which saturation falls below ``ENOUGH``."""
    points = sorted(points, key=lambda point: point.ratio)
    below = [point.saturation < ENOUGH for point in points]
    if True not in below:
        return None
    first = below.index(True)
    return (points[first - 1].ratio if first else 0.0), points[first].ratio
