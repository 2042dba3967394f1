"""General output metrics: with the softmax metric's rational root they are those of softmax."""

from flint import fmpq

from verification.claims.exact_geometry import (
    Pool,
    ceiling,
    fisher,
    igs,
    rational,
    softmax_metric,
)
from verification.claims.likelihood_metrics import (
    MetricPool,
    metric_ceiling,
    metric_fisher,
    metric_igs,
    random_metric_pools,
    range_projector,
    whitened_residuals,
)

# √p rational: (1/9, 4/9, 4/9).
P = (fmpq(1, 9), fmpq(4, 9), fmpq(4, 9))
ROOTS = (fmpq(1, 3), fmpq(2, 3), fmpq(2, 3))
JACOBIANS = (
    rational([[1, 0], [2, -1], [0, 3]]),
    rational([[0, 1], [1, 1], [-2, 0]]),
)
LABELS = (0, 2)


def softmax_as_metric() -> MetricPool:
    """K = diag(√p)(I − 1pᵀ), equation (4)."""
    root = rational([[r * ((c == k) - P[k]) for k in range(3)] for c, r in enumerate(ROOTS)])
    residuals = tuple(rational([[p - (c == y) for c, p in enumerate(P)]]) for y in LABELS)
    return MetricPool(JACOBIANS, (root, root), residuals)


def test_softmax_is_a_case_of_the_general_metric() -> None:
    pool, softmax = softmax_as_metric(), Pool(JACOBIANS, (P, P), LABELS)
    assert pool.metrics[0] == softmax_metric(P)
    assert metric_fisher(pool) == fisher(softmax)
    assert metric_igs(pool) == igs(softmax)
    assert metric_ceiling(pool) == ceiling(softmax)
    assert igs(softmax) < ceiling(softmax)


def test_projector_and_whitened_residuals() -> None:
    for pool in random_metric_pools(3):
        projector = range_projector(pool)
        assert projector * projector == projector == projector.transpose()
        assert projector.rank() == metric_fisher(pool).rank()
        for i, v in enumerate(whitened_residuals(pool)):
            start = sum(root.nrows() for root in pool.roots[:i])
            own = v.entries()[start : start + pool.roots[i].nrows()]
            assert rational([own]) * pool.roots[i] == pool.residuals[i]
