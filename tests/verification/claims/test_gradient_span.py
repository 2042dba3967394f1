"""The pools near p_y = 0: one parameter, the label's probability as asked."""

from flint import fmpq

from verification.claims.exact_geometry import fisher, gradients, igs
from verification.claims.gradient_span import near_zero_pool, zero_probability_pool


def test_pool_near_zero_has_the_asked_probability_and_known_moments() -> None:
    """F = (1 − ε)(1 + 4ε) and g = −2(1 − ε) for J = (1, −1, 2)ᵀ."""
    pool = near_zero_pool(fmpq(1, 8), [1, -1, 2])
    assert sum(pool.probabilities[0], fmpq(0)) == 1
    assert pool.probabilities[0][pool.labels[0]] == fmpq(1, 8)
    assert fisher(pool)[0, 0] == fmpq(7, 8) * fmpq(3, 2)
    assert gradients(pool)[0][0, 0] == -2 * fmpq(7, 8)


def test_two_classes_at_one_half() -> None:
    assert igs(zero_probability_pool(fmpq(1, 2))) == 1
