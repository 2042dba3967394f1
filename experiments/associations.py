"""How strongly numbers go together over networks, and means, both with 95% intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from scipy.stats import t as student

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


def differences(
    x: Sequence[float], others: Mapping[str, Sequence[float]], y: Sequence[float], *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Name ↦ its Spearman coefficient with y less that of x: the middle 95% of resamples.

    All are of the same resamples of the networks where all numbers are finite; a constant has none.
    """
    table = np.array([x, y, *others.values()])
    table = table[:, np.isfinite(table).all(axis=0)]
    if table.shape[1] < LEAST or any(np.ptp(row) == 0 for row in table):
        return {}
    drawn = np.random.default_rng(seed).integers(table.shape[1], size=(RESAMPLES, table.shape[1]))
    varied = np.all([np.ptp(row[drawn], axis=1) > 0 for row in table], axis=0)
    own, gap, *rest = (row[drawn[varied]] for row in table)
    base = spearman(own, gap)
    tail = 50 * (1 - LEVEL)
    return {
        name: tuple(map(float, np.percentile(spearman(values, gap) - base, [tail, 100 - tail])))
        for name, values in zip(others, rest, strict=True)
    }


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error, NaN of a single value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), spread / len(values) ** 0.5


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the mean lies with 95%, by Student's t; everywhere for a single value."""
    mean, error = mean_and_error(values)
    if math.isnan(error):
        return -math.inf, math.inf
    reach = error * float(student.ppf((1 + LEVEL) / 2, len(values) - 1))
    return mean - reach, mean + reach
