"""The two ways of a pooled network to its gradients."""

from verification.claims.pool_fisher import ROOTS, random_pooled


def test_roots_are_those_of_probabilities() -> None:
    assert all(sum(r * r for r in root) == 1 for root in ROOTS)


def test_gradients_are_whitened_residuals_times_the_factor() -> None:
    data = random_pooled(3)
    for i, gradient in enumerate(data.gradients()):
        assert data.whitened_residual(i).transpose() * data.factor() == gradient


def test_fisher_is_the_gram_matrix_of_the_factor() -> None:
    data = random_pooled(4)
    factor = data.factor()
    assert factor.transpose() * factor == data.fisher() * len(data.jacobians)
