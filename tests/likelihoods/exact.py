"""The likelihoods' formulas in 50-digit arithmetic, written so that nothing cancels.

Samples are lists of numbers; tensors go in and float64 tensors come out.
"""

import mpmath
import torch

DIGITS = 50


def per_sample(formula):
    """A formula on the numbers of one sample as a function of tensors with samples in front."""

    def on_tensors(*tensors):
        with mpmath.workdps(DIGITS):
            rows = [[[mpmath.mpf(v) for v in row] for row in t.tolist()] for t in tensors]
            values = [_as_floats(formula(*sample)) for sample in zip(*rows, strict=True)]
        return torch.tensor(values, dtype=torch.float64)

    return on_tensors


def _as_floats(value):
    return [_as_floats(v) for v in value] if isinstance(value, list) else float(value)


def _softmax(f):
    weights = [mpmath.exp(v - max(f)) for v in f]
    return [w / mpmath.fsum(weights) for w in weights]


def _others(values, c):
    return mpmath.fsum(v for k, v in enumerate(values) if k != c)


def _log_softmax(f):
    return [-mpmath.log1p(_others([mpmath.exp(v - f[c]) for v in f], c)) for c in range(len(f))]


@per_sample
def probabilities(f):
    """p."""
    return _softmax(f)


@per_sample
def metric(f):
    """diag(p) − p pᵀ."""
    p = _softmax(f)
    classes = range(len(f))
    return [[p[j] * _others(p, j) if j == k else -p[j] * p[k] for k in classes] for j in classes]


@per_sample
def output_gradient(f, q):
    """p − q."""
    p = _softmax(f)
    return [p[c] * _others(q, c) - q[c] * _others(p, c) for c in range(len(f))]


@per_sample
def gradient_size(f, q):
    """|p − q| entry by entry, had nothing cancelled between p and q."""
    p = _softmax(f)
    return [p[c] * _others(q, c) + q[c] * _others(p, c) for c in range(len(f))]


@per_sample
def ceiling(f, q):
    """Σ (p − q)²/p."""
    p = _softmax(f)
    return mpmath.fsum(
        (p[c] * _others(q, c) - q[c] * _others(p, c)) ** 2 / p[c] for c in range(len(f))
    )


@per_sample
def hard_ceiling(f, q):
    """Σ_{c≠y} exp(f_c − f_y)."""
    y = q.index(1)
    return _others([mpmath.exp(v - f[y]) for v in f], y)


@per_sample
def ceiling_size(f, q):
    """The ceiling, had nothing cancelled between p and q."""
    p = _softmax(f)
    return mpmath.fsum(
        (p[c] * _others(q, c) + q[c] * _others(p, c)) ** 2 / p[c] for c in range(len(f))
    )


@per_sample
def loss(f, q):
    """−Σ q log p."""
    return -mpmath.fsum(w * v for w, v in zip(q, _log_softmax(f), strict=True))


@per_sample
def divergence(reference, f):
    """Σ p_ref log(p_ref/p)."""
    pairs = zip(_log_softmax(reference), _log_softmax(f), strict=True)
    return mpmath.fsum(mpmath.exp(a) * (a - b) for a, b in pairs)


@per_sample
def divergence_size(reference, f):
    """Σ p_ref |log(p_ref/p)| + p: what rounding in log p acts on."""
    pairs = list(zip(_log_softmax(reference), _log_softmax(f), strict=True))
    return mpmath.fsum(mpmath.exp(a) * abs(a - b) for a, b in pairs)


def with_silent_class(f):
    """One logit f as the two logits (0, f)."""
    return torch.cat([torch.zeros_like(f), f], dim=1)
