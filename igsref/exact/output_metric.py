"""The output metric and the residuals of a likelihood in balls, in the rows of its contrast.

D = K J with the contrast K of a sample; its metric Λ' and residual u' in those coordinates are
those with Λ = KᵀΛ'K and u = Kᵀu', so that F = (1/N) Σ DᵀΛ'D and g = u'ᵀD. No root is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flint import arb
from torch import Tensor

from igsref.exact.arithmetic import BALLS, Array
from igsref.likelihoods import Bernoulli, Categorical, Gaussian
from igsref.problem import Problem


@dataclass(frozen=True, eq=False)
class OutputMetric:
    """Λ' and its inverse of every input of the pool, u' of every labelled sample.

    metric, inverse: (pool, rows, rows); residual: (samples, rows); arrays of balls.
    """

    metric: Array
    inverse: Array
    residual: Array

    def ceiling(self, members: list[int]) -> Array:
        """u'ᵀΛ'⁻¹u' of every labelled sample, (samples,); its row in the pool is members[i]."""
        return np.array(
            [u @ self.inverse[k] @ u for u, k in zip(self.residual, members, strict=True)],
            dtype=object,
        )


def output_metric(problem: Problem, logits: Array) -> OutputMetric:
    """Of a problem whose exact logits are known, (pool, classes) balls, at the precision now."""
    make = _MAKERS[type(problem.likelihood)]
    return make(problem, logits, BALLS.array(problem.targets))


def _categorical(problem: Problem, logits: Array, targets: Array) -> OutputMetric:
    """Λ' = diag(p') − p'p'ᵀ and diag(1/p') + 11ᵀ/p_ref over the classes but the reference.

    u = p − q; for soft labels p_c Σq − q_c, whose sum is 0 for floats q that miss 1 by rounding.
    """
    order, reference = _classes(problem.likelihood.contrast(problem.logits))
    metric, inverse, probabilities = [], [], []
    for f, others, ref in zip(logits, order, reference, strict=True):
        weights = np.array([(f_c - f[ref]).exp() for f_c in f], dtype=object)
        p = weights / weights.sum()
        probabilities.append(p)
        metric.append(_diagonal(p[others]) - np.outer(p[others], p[others]))
        inverse.append(_diagonal(1 / p[others]) + 1 / p[ref])
    residual = [
        _residual(probabilities[k], q)[order[k]]
        for k, q in zip(problem.members.tolist(), targets, strict=True)
    ]
    return OutputMetric(np.stack(metric), np.stack(inverse), np.stack(residual))


def _residual(p: Array, q: Array) -> Array:
    """p_c Σ_{c'≠c} q_c' − q_c Σ_{c'≠c} p_c', summed without subtracting."""
    return np.array(
        [p[c] * _without(q, c).sum() - q[c] * _without(p, c).sum() for c in range(len(p))],
        dtype=object,
    )


def _without(values: Array, index: int) -> Array:
    return np.delete(values, index)


def _classes(contrast: Tensor) -> tuple[list[list[int]], list[int]]:
    """The class of each row, and the class that all are compared with, by sample."""
    return contrast.argmax(dim=2).tolist(), contrast[:, 0].argmin(dim=1).tolist()


def _bernoulli(problem: Problem, logits: Array, targets: Array) -> OutputMetric:
    """Λ' = p(1 − p), u' = p(1 − y) − y(1 − p)."""
    up = np.vectorize(lambda f: 1 / (1 + (-f).exp()), otypes=[object])(logits)
    down = np.vectorize(lambda f: 1 / (1 + f.exp()), otypes=[object])(logits)
    members = problem.members.tolist()
    return OutputMetric(
        np.stack([_diagonal(v) for v in up * down]),
        np.stack([_diagonal(1 / v) for v in up * down]),
        up[members] * (1 - targets) - targets * down[members],
    )


def _gaussian(problem: Problem, logits: Array, targets: Array) -> OutputMetric:
    """Λ' = I, u' = f − y."""
    unit = np.stack([_diagonal(np.array([arb(1)] * logits.shape[1], dtype=object))] * len(logits))
    return OutputMetric(unit, unit, logits[problem.members.tolist()] - targets)


def _diagonal(values: Array) -> Array:
    out = BALLS.zeros(len(values), len(values))
    np.fill_diagonal(out, values)
    return out


_MAKERS: dict[type, Callable[[Problem, Array, Array], OutputMetric]] = {
    Categorical: _categorical,
    Bernoulli: _bernoulli,
    Gaussian: _gaussian,
}
