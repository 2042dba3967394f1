"""Traces of F and H beside those of the dense matrices."""

import jaxtyping
import pytest
import torch
from torch import nn

import igsref
from tests.closeness import EPS
from tests.random_states import states
from tests.strategies import classes, gaussian, mlp

RELU = (mlp(0, [2, 4, 3], nn.ReLU), (gaussian(1, 9, 2), classes(2, 9, 3)))
TANH = (mlp(0, [2, 4, 3], nn.Tanh), RELU[1])
LARGER = (mlp(3, [4, 8, 8, 3], nn.ReLU), (gaussian(4, 25, 4), classes(5, 25, 3)))


def dense(of, *network, **options):
    return (igsref.fisher if of == "fisher" else igsref.hessian)(*network, **options)


@pytest.mark.parametrize("network", [RELU, TANH])
@pytest.mark.parametrize("of", ["fisher", "hessian"])
def test_enough_products_give_the_trace_itself(network, of):
    matrix = dense(of, *network)
    found = igsref.curvature_trace(*network, of=of, products=len(matrix))
    # Each entry is a sum of some hundreds of products, of sizes whose sum is some ‖·‖.
    allowed = 1000 * EPS * float(matrix.diagonal().abs().sum() + matrix.norm())
    assert found.value == pytest.approx(float(matrix.trace()), abs=allowed)
    assert (found.standard_error, found.products) == (0.0, len(matrix))


@pytest.mark.parametrize("of", ["fisher", "hessian"])
def test_fewer_products_give_it_within_the_standard_error(of):
    matrix = dense(of, *LARGER)
    found = igsref.curvature_trace(*LARGER, of=of, products=60)
    # Of 20 probes: t with 19 degrees of freedom, beyond 6 with probability 9e-6.
    assert abs(found.value - float(matrix.trace())) <= 6 * found.standard_error
    # Var zᵀPAPz ≤ 2 ‖A‖²; the sample's is four times that with probability below 1e-9 of χ²(19).
    assert 0 < found.standard_error <= 2 * float(matrix.norm()) * (2 / 20) ** 0.5
    assert found.products == 60


@pytest.mark.parametrize("network", [RELU, TANH])
def test_on_a_relu_network_both_have_one_trace_and_on_another_two(network):
    fisher, hessian = (
        igsref.curvature_trace(*network, of=of).value for of in ("fisher", "hessian")
    )
    # Sums of the same non-negative terms, with some hundreds of roundings each.
    same = hessian == pytest.approx(fisher, rel=1000 * EPS)
    assert same == (network is RELU)


def test_f_is_a_mean_over_the_pool_and_h_over_the_labelled():
    pool = gaussian(6, 5, 2)
    for of in ("fisher", "hessian"):
        found = igsref.curvature_trace(*TANH, of=of, fisher_data=pool)
        expected = float(dense(of, *TANH, fisher_data=pool).trace())
        assert found.value == pytest.approx(expected, rel=1e4 * EPS), of
        alone = float(dense(of, *TANH).trace())
        assert (found.value == pytest.approx(alone, rel=1e-3)) == (of == "hessian")


@pytest.mark.parametrize("of", ["fisher", "hessian"])
def test_the_seed_decides_and_batches_do_not(of, monkeypatch):
    # Type checks of lists draw from Python's own state.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, (x, y) = LARGER
    before = states()
    first = igsref.curvature_trace(*LARGER, of=of, products=12, seed=1)
    assert states() == before
    torch.rand(3)
    assert igsref.curvature_trace(*LARGER, of=of, products=12, seed=1) == first
    assert igsref.curvature_trace(*LARGER, of=of, products=12, seed=2) != first
    monkeypatch.setattr("igsref.curvature.batches._LARGEST_BATCH", 4)
    batches = [(x[:10], y[:10]), (x[10:], y[10:])]
    other = igsref.curvature_trace(model, batches, of=of, products=12, seed=1)
    # Rounding alone differs, of sums in another order.
    assert other != first
    assert other.value == pytest.approx(first.value, rel=1e4 * EPS)
    assert other.standard_error == pytest.approx(first.standard_error, rel=1e6 * EPS)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"of": "gram"}, ValueError, "of must be 'fisher' or 'hessian'; got 'gram'"),
        ({"products": 0}, ValueError, "products must be at least 1; got 0"),
        ({"products": 3}, ValueError, "products must be at least 4; got 3"),
        ({"products": 9.0}, TypeError, "products must be an integer; got float 9.0"),
        ({"seed": -1}, ValueError, "seed must be at least 0; got -1"),
        ({"dtype": torch.float16}, ValueError, "dtype must be torch.float32 or torch.float64"),
        ({"memory": 0}, ValueError, "memory, in bytes, must be at least 1"),
    ],
)
def test_bad_settings_are_named(settings, error, message, monkeypatch):
    # Annotations would refuse first, in other words.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        igsref.curvature_trace(*RELU, **settings)
