"""How strongly numbers go together over networks, with bootstrap intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

RESAMPLES = 2000
LEVEL = 0.95
LEAST = 5
"""Networks below which nothing is said."""


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's coefficient of each row, (rows, n) and (rows, n)."""
    x, y = (values - values.mean(axis=1, keepdims=True) for values in (x, y))
    sizes = (x**2).sum(axis=1) * (y**2).sum(axis=1)
    return (x * y).sum(axis=1) / np.sqrt(sizes)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's coefficient of ranks, equal values sharing the mean of theirs."""
    return pearson(rankdata(x, axis=1), rankdata(y, axis=1))


def kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kendall's τ_b."""
    x, y = (np.sign(v[:, :, None] - v[:, None, :]) for v in (x, y))
    sizes = (x**2).sum(axis=(1, 2)) * (y**2).sum(axis=(1, 2))
    return (x * y).sum(axis=(1, 2)) / np.sqrt(sizes)


COEFFICIENTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Pearson": pearson,
    "Spearman": spearman,
    "Kendall": kendall,
}


@dataclass(frozen=True)
class Association:
    """A coefficient over ``count`` networks, and where the middle 95% of its resamples lie."""

    value: float
    lower: float
    upper: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.lower:+.2f}, {self.upper:+.2f}]"


def associated(
    x: Sequence[float], y: Sequence[float], kind: str, *, seed: int = 0
) -> Association | None:
    """The coefficient of pairs that are finite; None of fewer than ``LEAST``, or of a constant.

    The interval is the percentile bootstrap over pairs, that is over networks: resamples in which
    one of the two is constant have no coefficient and are left out.
    """
    pairs = np.array([pair for pair in zip(x, y, strict=True) if np.isfinite(pair).all()])
    if len(pairs) < LEAST or any(np.ptp(column) == 0 for column in pairs.T):
        return None
    coefficient, (first, second) = COEFFICIENTS[kind], pairs.T
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(RESAMPLES, len(pairs)))
    varied = (np.ptp(first[drawn], axis=1) > 0) & (np.ptp(second[drawn], axis=1) > 0)
    values = coefficient(first[drawn[varied]], second[drawn[varied]])
    tail = 50 * (1 - LEVEL)
    lower, upper = np.percentile(values, [tail, 100 - tail])
    (value,) = coefficient(first[None], second[None])
    return Association(float(value), float(lower), float(upper), len(pairs))
