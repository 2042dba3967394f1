"""Eigenpairs and densities by products alone, against spectra that are known by construction."""

import io
import math
import operator
from functools import cache

import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from igsref.linalg.lanczos import Decomposition, leading_eigenpairs
from tests.closeness import EPS, assert_within
from tests.linalg.exact import doubles
from tests.linalg.symmetric import flat, outliers_and_bulk, turned
from tests.random_states import states
from tests.strategies import gaussian


def assert_pairs(found, product, values, tolerance=1e-8):
    """The leading values, as near as the residuals say; residuals, flags and vectors as stated.

    Kahan: as many eigenvalues as there are orthonormal vectors are matched by the Ritz values
    to the norm of all residuals together.
    """
    k, largest = len(found.eigenvalues), float(values.abs().max())
    expected = values.sort(descending=True).values[:k]
    rounding = 64 * EPS * largest * math.sqrt(len(values))
    assert_within(found.eigenvalues, expected, float(found.residual_norms.norm()) + rounding)
    assert bool((found.eigenvalues[1:] <= found.eigenvalues[:-1]).all())
    v = found.eigenvectors
    assert_within(v.mT @ v, torch.eye(k).double(), 64 * EPS * math.sqrt(len(values)))
    residuals = (product(v) - found.eigenvalues * v).norm(dim=0)
    assert_within(found.residual_norms, residuals, rounding)
    assert bool(found.converged.all())
    assert float(residuals.max()) <= tolerance * largest + rounding
    assert bool((v.gather(0, v.abs().argmax(dim=0)[None]) > 0).all())


def test_a_hundred_pairs_of_a_fisher_like_spectrum_take_about_two_hundred_products():
    values, seen = outliers_and_bulk(2000), []
    product = turned(values)
    found = leading_eigenpairs(
        product, 2000, 100, on_progress=lambda products, count: seen.append((products, count))
    )
    assert_pairs(found, product, values)
    first = min(products for products, count in seen if count == 100)
    assert first <= 210
    # A search of 24 steps, looked at every fourth vector at most, and the residuals.
    assert first + 24 + 100 <= found.products <= first + 24 + 4 + 100


@pytest.mark.parametrize("order", ["algebraic", "magnitude"])
@pytest.mark.parametrize("block", [1, 3])
def test_the_pairs_are_those_of_arpack(order, block):
    values = torch.cat([outliers_and_bulk(250), -0.9 * outliers_and_bulk(150)])
    product = turned(values)
    operator = LinearOperator(
        (400, 400),
        matvec=lambda v: product(torch.from_numpy(v).reshape(-1, 1)).numpy()[:, 0],
        dtype="float64",
    )
    start = gaussian(9, 400).numpy()
    which = {"algebraic": "LA", "magnitude": "LM"}[order]
    expected, vectors = map(torch.from_numpy, eigsh(operator, 12, which=which, v0=start, tol=1e-12))
    place = (expected.abs() if order == "magnitude" else expected).argsort(descending=True)
    found = leading_eigenpairs(product, 400, 12, order=order, block=block, tolerance=1e-10)
    assert_within(found.eigenvalues, expected[place], 2e-10 * 100 * math.sqrt(12))
    # Davis and Kahan: residual over gap; no two wanted values are nearer than 1.
    overlaps = (found.eigenvectors * vectors[:, place]).sum(dim=0).abs()
    assert_within(overlaps, torch.ones(12).double(), (2e-10 * 100 / 1.0) ** 2 + 1000 * EPS)


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize(
    "leading", [[7.0] * 3 + [5.0] * 2 + [3.0], [9.0, 4.0, 4.0, 4.0, 4.0], [2.0] * 6]
)
def test_multiple_eigenvalues_are_found_as_often_as_they_are_there(leading, block):
    values = torch.cat([doubles(leading), torch.logspace(0, -3, 200, dtype=torch.float64)])
    product = turned(values)
    found = leading_eigenpairs(product, len(values), len(leading), block=block)
    assert_pairs(found, product, values)


@pytest.mark.parametrize("seed", range(2))
def test_copies_down_to_the_stated_level_are_found(seed):
    values = torch.cat(
        [doubles([9.0, 8.0, 7.0, 6.0, 5.0]), 4.9 * 0.97 ** torch.arange(120).double()]
    )
    level = leading_eigenpairs(turned(values), 125, 5, seed=seed).unseen_above
    # Of 24 steps in dimension 125, measured from λ_min, which Ritz values come close to.
    epsilon = (math.log(1.648 * math.sqrt(125) / 1e-3) / 47) ** 2
    expected = 5 + epsilon / (1 - epsilon) * (5 - float(values.min()))
    assert level == pytest.approx(expected, rel=1e-3)
    # Further copies of 8 appear one search after the other, and so does the level twice over.
    more = torch.cat([values, doubles([8.0, 8.0, level, level])])
    found = leading_eigenpairs(turned(more), 129, 8, seed=seed)
    assert_pairs(found, turned(more), more)


def test_where_only_the_largest_is_asked_for_no_search_is_made():
    values = outliers_and_bulk(500)
    found = leading_eigenpairs(turned(values), 500, 1)
    assert_pairs(found, turned(values), values)
    assert found.products < 24
    assert found.unseen_above > 100


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("rank", [0, 1, 4])
def test_pairs_beyond_the_rank_lie_in_the_null_space(rank, block):
    values = torch.cat([doubles([5.0, 3.0, 2.0, 1.0][:rank]), torch.zeros(120).double()])
    product = turned(values)
    found = leading_eigenpairs(product, len(values), 9, block=block)
    assert_pairs(found, product, values)
    outside = found.eigenvectors[:, rank:]
    assert_within(product(outside), torch.zeros_like(outside), 1000 * EPS * 5)


def test_the_identity_breaks_down_at_every_step():
    found = leading_eigenpairs(lambda v: v.clone(), 100, 6)
    assert_pairs(found, lambda v: v, torch.ones(100).double())


def test_rounding_is_no_direction_to_go_on_in():
    product = turned(torch.ones(50).double())
    space = Decomposition(50, 10, torch.Generator().manual_seed(0), "cpu")
    space.begin(2)
    assert not torch.equal(product(space.next.mT), space.next.mT)
    space.expand(product)
    assert len(space.coupling) == 0
    assert len(space.next) == 2


@pytest.mark.parametrize(("size", "k", "block"), [(1, 1, 1), (7, 7, 1), (7, 7, 3), (40, 20, 4)])
def test_where_the_space_is_exhausted_everything_is_known(size, k, block):
    values = torch.linspace(-3, 4, size, dtype=torch.float64)
    product = turned(values)
    found = leading_eigenpairs(product, size, k, block=block)
    assert_pairs(found, product, values)
    if size == k:
        assert found.unseen_above == float(found.eigenvalues[-1])
        assert found.products == 2 * size


FLAT = torch.linspace(1.3, 0, 300, dtype=torch.float64) ** 2
"""A bulk so flat that the basis fills several times, and a copy hidden in it."""
FLAT[40] = FLAT[1]


def restarted(**options):
    return leading_eigenpairs(turned(FLAT), 300, 4, **{"seed": 3, **options})


@cache
def interrupted(block=1):
    """A run with all its states, each written to a file."""
    files = []

    def save(state):
        files.append(io.BytesIO())
        torch.save(state, files[-1])

    return restarted(block=block, on_cycle=save), files


def read(file):
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same_bits(found, expected):
    for name in ("eigenvalues", "eigenvectors", "residual_norms", "converged"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert (found.products, found.unseen_above) == (expected.products, expected.unseen_above)


def test_restarts_keep_the_memory_bounded_and_the_pairs_right():
    found, files = interrupted()
    assert_pairs(found, turned(FLAT), FLAT)
    assert len(files) > 3
    assert max(len(read(file)["basis"]) for file in files) <= 2 * 4 + 32 < found.products


@pytest.mark.parametrize("block", [1, 2])
def test_a_run_goes_on_from_a_state_bit_for_bit(block):
    whole, files = interrupted(block)
    for file in (files[0], files[-1]):
        assert_same_bits(restarted(block=block, state=read(file)), whole)


def test_a_state_is_a_copy_and_is_not_used_up():
    kept = []
    whole = restarted(on_cycle=kept.append)
    for state, file in zip(kept, interrupted()[1], strict=True):
        for name, value in read(file).items():
            same = torch.equal if isinstance(value, torch.Tensor) else operator.eq
            assert same(value, state[name]), name
    for _ in range(2):
        assert_same_bits(restarted(state=kept[-1]), whole)


@pytest.mark.parametrize("change", [{"k": 5}, {"block": 2}, {"order": "magnitude"}])
def test_a_state_of_other_arguments_is_refused(change):
    state, options = read(interrupted()[1][0]), {"k": 4, **change}
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=rf"state must be of {name} {value!r}; got"):
        leading_eigenpairs(turned(FLAT), 300, state=state, **options)


def test_a_limit_on_the_products_is_kept_and_told():
    values = torch.linspace(1, 0, 500, dtype=torch.float64)
    found = leading_eigenpairs(turned(values), 500, 6, max_products=40)
    assert found.products == 40
    assert not bool(found.converged.all())
    assert found.unseen_above == math.inf
    # Ritz values approach from below.
    assert bool((found.eigenvalues <= values[:6] + 64 * EPS).all())
    least = leading_eigenpairs(turned(values), 500, 6, max_products=12)
    assert least.products == 12


def test_residuals_are_those_of_the_product_and_not_of_the_recurrence():
    values, seen = outliers_and_bulk(300), []
    exact, calls = turned(values), []

    def worse_and_worse(vectors):
        # An adjoint that does not match, or another rounding each time, is such an operator.
        calls.append(None)
        return exact(vectors) + 1e-4 * gaussian(len(calls), *vectors.shape)

    found = leading_eigenpairs(
        worse_and_worse,
        300,
        3,
        max_products=200,
        on_progress=lambda _, count: seen.append(count),
    )
    assert max(seen) == 3
    assert not bool(found.converged.any())
    assert float(found.residual_norms.min()) > 1e-4


@pytest.mark.parametrize("block", [1, 4])
def test_the_product_is_given_blocks_of_the_width_that_was_asked_for(block):
    widths = []

    def product(vectors):
        widths.append(vectors.shape[1])
        return outliers_and_bulk(60)[:, None] * vectors

    found = leading_eigenpairs(product, 60, 6, block=block)
    assert max(widths) == block
    assert sum(widths) == found.products


def test_seeds_decide_and_global_states_do_not():
    product = turned(outliers_and_bulk(40))
    before = states()
    first = [leading_eigenpairs(product, 40, 2, seed=seed) for seed in (1, 2)]
    assert states() == before
    assert not torch.equal(first[0].eigenvectors, first[1].eigenvectors)
    torch.rand(3)
    assert_same_bits(leading_eigenpairs(product, 40, 2, seed=1), first[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be at least 1; got 0"),
        ({"k": 0}, "k must be at least 1; got 0"),
        ({"k": 11}, "k must be at most size, 10; got 11"),
        ({"block": 11}, "block must be at most size, 10; got 11"),
        ({"tolerance": 0.0}, "tolerance must be finite and positive; got 0.0"),
        ({"tolerance": math.nan}, "tolerance must be finite and positive; got nan"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"seed": 2**64}, "seed must be below"),
        ({"order": "smallest"}, "order must be 'algebraic' or 'magnitude'; got 'smallest'"),
        ({"max_products": 3}, "max_products must be at least 4; got 3"),
        ({"max_products": 4, "block": 3}, "max_products must be at least 5; got 4"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        leading_eigenpairs(flat(torch.ones(10).double()), **{"size": 10, "k": 2, **arguments})
