"""Spectral densities beside known spectra."""

import math

import pytest
import torch

from igsref.linalg.density import SpectralDensity, lanczos_quadrature
from tests.closeness import EPS, assert_within
from tests.linalg.exact import doubles
from tests.linalg.symmetric import SMALL, flat, outliers_and_bulk, turned
from tests.random_states import states


@pytest.mark.parametrize("values", [SMALL, [1.0] * 12, [4.0] + [0.0] * 11])
def test_moments_are_exact_where_the_probes_are_a_basis(values):
    values = doubles(values)
    density = lanczos_quadrature(turned(values), 12, probes=12, steps=4)
    assert density.exact
    assert density.products == 48
    for degree in range(8):
        value, error = density.moment(degree)
        allowed = 1000 * EPS * float(values.abs().max()) ** degree
        assert abs(value - float((values**degree).mean())) <= allowed, degree
        assert error == 0.0
    with pytest.raises(ValueError, match="degree must be at most 2·steps − 1, 7; got 8"):
        density.moment(8)


def test_a_quadrature_ends_at_the_degree_that_is_stated():
    values = doubles(SMALL)
    density = lanczos_quadrature(turned(values), 12, probes=12, steps=4)
    eighth = float((density.weights * density.nodes**8).sum(dim=1).mean())
    assert abs(eighth - float((values**8).mean())) > 1e-3


def test_random_probes_give_moments_within_their_standard_errors():
    values = outliers_and_bulk(400)
    product, degrees, deviations = turned(values), (1, 2, 3), []
    for seed in range(8):
        density = lanczos_quadrature(product, 400, probes=12, steps=2, seed=seed)
        assert not density.exact
        for degree in degrees:
            value, error = density.moment(degree)
            deviations.append((value - float((values**degree).mean())) / error)
    # 24 t-like numbers with 11 degrees of freedom, variance 11/9: |t| > 5 has p = 4e-4 each.
    spread = doubles(deviations)
    assert float(spread.abs().max()) < 5
    assert 0.3 < float(spread.square().mean()) < 3
    assert all(abs(float(row.sum()) - 1) <= 100 * EPS for row in density.weights)
    assert math.isnan(lanczos_quadrature(product, 400, probes=1, steps=2).moment(1)[1])


def test_the_standard_error_is_that_of_a_mean():
    density = SpectralDensity(doubles([[1.0], [3.0], [8.0]]), doubles([[1.0]] * 3), 3, False)
    value, error = density.moment(1)
    assert value == 4.0
    assert error == pytest.approx(math.sqrt((9 + 1 + 16) / 2 / 3))


def test_seeds_decide_and_global_states_do_not():
    product = turned(outliers_and_bulk(40))
    before = states()
    first = [lanczos_quadrature(product, 40, probes=2, steps=3, seed=seed) for seed in (1, 2)]
    assert states() == before
    assert not torch.equal(first[0].nodes, first[1].nodes)
    torch.rand(3)
    assert lanczos_quadrature(product, 40, probes=2, steps=3, seed=1).nodes.equal(first[0].nodes)


def test_the_smoothed_density_is_the_spectrum_convolved():
    values = doubles(SMALL)
    density = lanczos_quadrature(turned(values), 12, probes=12, steps=12)
    grid = torch.linspace(-12, 12, 481, dtype=torch.float64)
    expected = torch.distributions.Normal(values, 0.5, validate_args=False)
    expected = expected.log_prob(grid[:, None]).exp().mean(dim=1)
    smoothed = density.smoothed(grid, 0.5)
    # A node is off by rounding of ‖A‖; the kernel's slope is below 1/width².
    assert_within(smoothed, expected, 1000 * EPS * 3 / 0.5**2)
    assert float(torch.trapezoid(smoothed, grid)) == pytest.approx(1.0, abs=1e-10)
    with pytest.raises(ValueError, match="width must be finite and positive; got 0"):
        density.smoothed(grid, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 11}, "steps must be at most size, 10; got 11"),
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"probes": 0}, "probes must be at least 1; got 0"),
    ],
)
def test_a_density_refuses_numbers_out_of_range(arguments, message):
    options = {"probes": 2, "steps": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        lanczos_quadrature(flat(torch.ones(10).double()), 10, **options)
