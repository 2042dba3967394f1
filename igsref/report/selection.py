"""What of many a figure shows: few points of a long curve, few of many classes or layers."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from igsref.measures.result import Result
from igsref.report.classes import ClassShare
from igsref.report.layers import LayerBounds

MOST = 20
"""Classes or layers in one figure."""
POINTS = 2000
"""Places on one axis: each point takes about 100 bytes of the page."""
LEAST_EIGENVALUE = 1e-36
"""Of the largest one: far below all rounding of a factor in float64."""
LEAST_SCORE = 1e-12
"""Of the largest ceiling."""


def thinned(*curves: np.ndarray, keep: Sequence[int] = ()) -> np.ndarray:
    """Places of at most ``POINTS`` points, rising, for a logarithmic axis; all of them if they fit.

    curves: over the same places, (n,) each. The axis is cut into cells of one width, and of each
    cell the smallest and the largest value of every curve are kept: a curve looks the same.
    keep: places that stay, beyond that number; the first and the last do.
    """
    count = len(curves[0])
    if count <= POINTS:
        return np.arange(count)
    cells = POINTS // (2 * len(curves))
    cell = (cells * np.log1p(np.arange(count)) / np.log1p(count)).astype(int)
    kept = [np.array([0, count - 1, *keep])]
    for curve in curves:
        order = np.lexsort((curve, cell))
        starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
        kept += [order[starts], order[np.append(starts[1:], count) - 1]]
    return np.unique(np.concatenate(kept))


def drawable(eigenvalues: Tensor) -> np.ndarray:
    """Those of the falling eigenvalues that are not next to 0."""
    values: np.ndarray = eigenvalues[eigenvalues > LEAST_EIGENVALUE * eigenvalues[0]].numpy()
    return values


def shown_eigenvalues(eigenvalues: Tensor, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Index from 1 on and value of each point; those at the rank are there."""
    values = drawable(eigenvalues)
    ends = [place for place in (rank - 1, rank) if 0 <= place < len(values)]
    places = thinned(values, keep=ends)
    return places + 1, values[places]


def shown_samples(result: Result) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place from 1 on, the heaviest first, score and ceiling of each point."""
    order = result.per_sample.argsort(descending=True, stable=True)
    score, ceiling = result.per_sample[order].numpy(), result.sample_ceiling[order].numpy()
    places = thinned(score, ceiling)
    return places + 1, score[places], ceiling[places]


def least_score(result: Result) -> float:
    """Scores and ceilings below are not drawn."""
    return LEAST_SCORE * max(float(result.sample_ceiling.max()), 1e-300)


def shown_classes(shares: Sequence[ClassShare]) -> list[ClassShare]:
    """Those with the largest shares of the IGS, by label."""
    largest = sorted(shares, key=lambda each: -each.share)[:MOST]
    return sorted(largest, key=lambda each: each.label)


def shown_layers(bounds: Sequence[LayerBounds]) -> list[LayerBounds]:
    """Those without which least is left, in the network's order; of equal ones the strongest."""
    places = sorted(range(len(bounds)), key=lambda k: (bounds[k].without or 0.0, -bounds[k].alone))
    return [bounds[k] for k in sorted(places[:MOST])]
