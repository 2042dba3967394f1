"""Affine coupling."""

import pytest
import torch

from igsref.transforms.bijections import AffineCoupling
from tests.strategies import gaussian


def test_half_stays_and_half_moves():
    bijection, theta = AffineCoupling(7, seed=0), gaussian(0, 7)
    stays = bijection.forward(theta) == theta
    assert int(stays.sum()) == 3
    assert bool(stays[bijection.kept].all())


def test_the_jacobian_is_triangular_once_the_kept_half_comes_first():
    bijection = AffineCoupling(6, seed=3)
    order = torch.cat([bijection.kept, bijection.moved])
    jacobian = bijection.jacobian(gaussian(1, 6))[order][:, order]
    assert not jacobian.triu(1).any()
    assert jacobian.tril(-1).any()


def test_strength_bounds_the_scaling():
    for strength in (0.0, 2.0):
        bijection = AffineCoupling(6, seed=3, strength=strength)
        diagonal = bijection.jacobian(100 * gaussian(1, 6)).diagonal()
        assert float(diagonal.log().abs().max()) <= strength * (1 + 1e-15)


def test_a_seed_gives_one_function_and_leaves_the_random_state_alone():
    theta, before = gaussian(0, 5), torch.random.get_rng_state()
    image = AffineCoupling(5, seed=4).forward(theta)
    assert torch.equal(AffineCoupling(5, seed=4).forward(theta), image)
    assert not torch.equal(AffineCoupling(5, seed=5).forward(theta), image)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_sizes_without_two_halves_are_refused():
    with pytest.raises(ValueError, match="size must be at least 2"):
        AffineCoupling(1, seed=0)


@pytest.mark.parametrize("strength", [-1.0, float("inf"), float("nan")])
def test_a_strength_that_is_no_bound_is_refused(strength):
    with pytest.raises(ValueError, match="strength must be at least 0"):
        AffineCoupling(4, seed=0, strength=strength)
