"""Densities of the eigenvalues of F and H beside those of the dense matrices."""

import jaxtyping
import pytest
import torch

import igsref
from tests.closeness import EPS
from tests.measures.test_matrixfree import labelled, perceptron
from tests.random_states import states

SMALL = (perceptron(0, 2, 2, 3), labelled(0, 9, (2,), 3))
LARGER = (perceptron(0, 4, 8, 8, 3), labelled(0, 25, (4,), 3))


def eigenvalues(of, *network):
    matrix = igsref.fisher(*network) if of == "fisher" else igsref.hessian(*network)
    return torch.linalg.eigvalsh(matrix)


@pytest.mark.parametrize("of", ["fisher", "hessian"])
def test_moments_are_those_of_the_matrix_where_the_probes_are_a_basis(of):
    values = eigenvalues(of, *SMALL)
    density = igsref.spectral_density(*SMALL, of=of, probes=15, steps=3)
    assert density.exact
    assert density.products == 45
    for degree in range(6):
        value, error = density.moment(degree)
        # Each quadrature is known to roundings of ‖A‖^d, d of them for each product.
        allowed = 1000 * EPS * float(values.abs().max()) ** degree
        assert value == pytest.approx(float((values**degree).mean()), abs=allowed), degree
        assert error == 0.0


@pytest.mark.parametrize("of", ["fisher", "hessian"])
def test_random_probes_give_them_within_their_standard_errors(of):
    values = eigenvalues(of, *LARGER)
    density = igsref.spectral_density(*LARGER, of=of, probes=8, steps=3)
    assert not density.exact
    for degree in (1, 2, 3):
        value, error = density.moment(degree)
        # t with 7 degrees of freedom, beyond 10 with probability 2e-5.
        assert abs(value - float((values**degree).mean())) <= 10 * error
        # A probe's moment lies between the ends of the spectrum's, and so does the error's √8.
        assert 0 < error <= 2 * float(values.abs().max()) ** degree / 7**0.5


def test_more_steps_than_parameters_are_as_many():
    density = igsref.spectral_density(*SMALL, probes=1, steps=1000)
    assert density.nodes.shape == (1, 15)
    assert density.products == 15


def test_the_seed_decides_and_batches_do_not(monkeypatch):
    # Type checks of lists draw from Python's own state.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, (x, y) = LARGER
    before = states()
    first = igsref.spectral_density(*LARGER, probes=2, steps=3, seed=1)
    assert states() == before
    torch.rand(3)
    again, other = (igsref.spectral_density(*LARGER, probes=2, steps=3, seed=s) for s in (1, 2))
    assert again.nodes.equal(first.nodes)
    assert not other.nodes.equal(first.nodes)
    monkeypatch.setattr("igsref.curvature.batches._LARGEST_BATCH", 4)
    batches = [(x[:10], y[:10]), (x[10:], y[10:])]
    batched = igsref.spectral_density(model, batches, probes=2, steps=3, seed=1)
    largest = float(first.nodes.max())
    torch.testing.assert_close(batched.nodes, first.nodes, rtol=0, atol=1e4 * EPS * largest)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"of": "gram"}, ValueError, "of must be 'fisher' or 'hessian'; got 'gram'"),
        ({"probes": 0}, ValueError, "probes must be at least 1; got 0"),
        ({"steps": 0}, ValueError, "steps must be at least 1; got 0"),
        ({"steps": 2.5}, TypeError, "steps must be an integer; got float 2.5"),
        ({"seed": 2**64}, ValueError, r"seed must be below 2\*\*64"),
        ({"dtype": torch.int64}, ValueError, "dtype must be torch.float32 or torch.float64"),
        ({"memory": 0}, ValueError, "memory, in bytes, must be at least 1"),
    ],
)
def test_bad_settings_are_named(settings, error, message, monkeypatch):
    # Annotations would refuse first, in other words.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        igsref.spectral_density(*SMALL, **settings)
