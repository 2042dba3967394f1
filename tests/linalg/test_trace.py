"""The trace: exact where it can be, unbiased elsewhere, with an error that means what it says."""

import math

import pytest
import torch
from curvlinops import hutchpp_trace, xtrace

from igsref.linalg.trace import trace_estimate
from tests.closeness import EPS
from tests.random_states import states
from tests.strategies import gaussian


def decaying(size, seed=0):
    """A symmetric positive definite matrix with eigenvalues 10/i."""
    basis = torch.linalg.qr(gaussian(seed, size, size)).Q
    return (basis * (10.0 / torch.arange(1, size + 1, dtype=torch.float64))) @ basis.mT


def by(matrix):
    return lambda vectors: matrix @ vectors


@pytest.mark.parametrize("products", [7, 8, 100])
@pytest.mark.parametrize("block", [1, 3, 50])
def test_with_as_many_products_as_dimensions_it_is_the_trace_itself(products, block):
    matrix = gaussian(1, 7, 7)
    found = trace_estimate(by(matrix), 7, products=products, block=block)
    assert found.value == math.fsum(matrix.diagonal().tolist())
    assert found.standard_error == 0.0
    assert found.products == 7


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_a_small_rank_leaves_rounding_alone(rank):
    left = gaussian(2, 60, rank)
    matrix = left @ left.mT
    found = trace_estimate(by(matrix), 60, products=15)
    allowed = 1000 * EPS * max(float(matrix.norm()), 1.0) * 60
    assert abs(found.value - float(matrix.trace())) <= allowed
    assert found.standard_error <= allowed
    if rank == 5:
        assert trace_estimate(by(matrix), 60, products=14).standard_error > 1e6 * allowed


@pytest.mark.parametrize(("symmetric", "products"), [(True, 10), (True, 40), (False, 40)])
def test_it_is_unbiased_and_its_standard_error_is_the_spread(symmetric, products):
    matrix = decaying(80) if symmetric else decaying(80) + gaussian(3, 80, 80) / 10
    exact, runs = float(matrix.trace()), 100
    found = [
        trace_estimate(by(matrix), 80, products=products, seed=s, block=40) for s in range(runs)
    ]
    errors = torch.tensor([one.value - exact for one in found])
    claimed = torch.tensor([one.standard_error for one in found]).square().mean()
    spread = errors.square().mean()
    assert abs(float(errors.mean())) <= 4 * float(spread / runs) ** 0.5
    # Means over 100 of squares: the errors' to √(2/100) = 14 %, the claims', from 3 and more
    # degrees of freedom, to √(2/300) = 8 %. Four times both together is a factor of 1.65.
    assert 1 / 1.65 < float(claimed / spread) < 1.65


def test_the_sketch_pays_where_the_spectrum_decays():
    matrix = torch.diag(2.0 ** -torch.arange(80, dtype=torch.float64))
    # Random signs are exact for a diagonal matrix, so it is turned.
    basis = torch.linalg.qr(gaussian(4, 80, 80)).Q
    found = trace_estimate(by(basis @ matrix @ basis.mT), 80, products=45)
    # A sketch of 15 columns leaves about 2⁻¹⁴ of the trace; plain probes leave ‖A‖_F √(2/45).
    assert abs(found.value - 2.0) < 100 * 2.0**-14
    assert found.standard_error < 100 * 2.0**-14 < 0.1 * (2 * 4 / 3 / 45) ** 0.5


@pytest.mark.parametrize("peer", [hutchpp_trace, xtrace])
def test_it_agrees_with_curvlinops(peer):
    matrix, runs = decaying(150), 12
    before = torch.get_rng_state()
    torch.manual_seed(0)
    theirs = torch.stack([peer(matrix, 30) for _ in range(runs)])
    torch.set_rng_state(before)
    ours = [trace_estimate(by(matrix), 150, products=30, seed=seed) for seed in range(runs)]
    values = torch.tensor([one.value for one in ours])
    allowed = 5 * float((values.var() + theirs.var()) / runs) ** 0.5
    assert abs(float(values.mean() - theirs.mean())) <= allowed
    assert allowed < 0.1 * float(matrix.trace())


@pytest.mark.parametrize("products", [4, 5, 6, 19])
@pytest.mark.parametrize("block", [1, 4])
def test_products_are_counted_and_no_wider_than_asked_for(products, block):
    widths, matrix = [], decaying(20)

    def product(vectors):
        widths.append(vectors.shape[1])
        return matrix @ vectors

    found = trace_estimate(product, 20, products=products, block=block)
    assert sum(widths) == found.products == products
    assert max(widths) <= block


@pytest.mark.parametrize("block", [2, 7, 50])
def test_how_many_at_once_changes_rounding_alone(block):
    matrix = decaying(30)
    alone = trace_estimate(by(matrix), 30, products=20, seed=3)
    found = trace_estimate(by(matrix), 30, products=20, seed=3, block=block)
    allowed = 1000 * EPS * float(matrix.trace())
    assert found.value == pytest.approx(alone.value, abs=allowed)
    assert found.standard_error == pytest.approx(alone.standard_error, abs=allowed)


def test_seeds_decide_and_global_states_do_not():
    matrix, before = decaying(30), states()
    first, other = (trace_estimate(by(matrix), 30, products=9, seed=seed) for seed in (1, 2))
    assert states() == before
    torch.rand(3)
    assert trace_estimate(by(matrix), 30, products=9, seed=1) == first != other


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 0}, ValueError, "size must be at least 1; got 0"),
        ({"products": 3}, ValueError, "products must be at least 4; got 3"),
        ({"size": 2, "products": 1}, ValueError, "products must be at least 2; got 1"),
        ({"block": 0}, ValueError, "block must be at least 1; got 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0; got -1"),
        ({"product": lambda v: v.float()}, TypeError, "product must give float64"),
        ({"product": lambda v: v[:2]}, ValueError, "product must give the shape"),
    ],
)
def test_bad_input_is_refused(arguments, error, message):
    options = {"product": lambda v: v, "size": 9, "products": 6, **arguments}
    with pytest.raises(error, match=message):
        trace_estimate(**options)
