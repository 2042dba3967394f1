"""Every inequality that an assessment states, over the rationals."""

import pytest
import torch
from flint import fmpq, fmpq_mat
from hypothesis import given, settings
from hypothesis import strategies as st

from igsref.linalg.assess import Assessment, assess, is_nonsingular, smallest_stretch, solve
from igsref.linalg.range import Rows, Subspace, find_range
from igsref.linalg.rounding import UNIT, measured_product
from tests.linalg.exact import (
    SPOILED,
    Known,
    cases,
    columns_of,
    doubles,
    entries,
    fraction,
    identity,
    known,
    only,
    rational,
    square,
)
from tests.strategies import SEEDS, gaussian

laws = settings(max_examples=50)
ABOVE = st.sampled_from([1.0, 1e-3, 0.0])
"""Directions counted from so many times the error: below 1, some are nothing but rounding."""
UNSOLVED = fmpq(1, 2**40)
"""x is known through ‖x‖ as a float, which is good to r u."""


def exact_columns(case: Known, space: Subspace) -> fmpq_mat:
    """A = M (K + E)_Π."""
    return case.mixed() * case.chosen(space)


def exact_basis(case: Known, space: Subspace) -> fmpq_mat:
    """B = A R⁻¹ Π' T⁻¹."""
    turned = columns_of(identity(space.dimension), space.pivots.tolist())
    inner = exact_columns(case, space) * rational(space.outer).inv()
    return inner * turned * rational(space.triangle).inv()


def largest_unsolved(case: Known, found: Assessment) -> list[fmpq]:
    """The largest |A R⁻¹ s|_j over all |s| ≤ g."""
    inner = exact_columns(case, found.space) * rational(found.space.outer).inv()
    allowed = [fraction(g) for g in found.solving.tolist()]
    return [sum(abs(v) * g for v, g in zip(row, allowed, strict=True)) for row in entries(inner)]


def assert_norm_below(row: list[fmpq], bound: fmpq) -> None:
    """‖row‖ ≤ bound, without a root."""
    assert bound >= 0
    assert sum((v * v for v in row), fmpq(0)) <= bound * bound


def assert_weight_covers_the_columns(case: Known, found: Assessment) -> None:
    """|A x − columns x|_j + |A R⁻¹ s|_j ≤ w_j ‖x‖, for the worst x and s of each row."""
    missed = entries(exact_columns(case, found.space) - rational(only(found.space).columns))
    unsolved = largest_unsolved(case, found)
    for row, other, weight in zip(missed, unsolved, found.weight.tolist(), strict=True):
        assert_norm_below(row, fraction(weight) - other)


@laws
@given(case=cases(), above=ABOVE, spoiled=SPOILED)
def test_the_weight_covers_the_columns_and_what_stays_unsolved(case, above, spoiled):
    assert_weight_covers_the_columns(case, case.assess(above=above, spoiled=spoiled))


@laws
@given(
    case=cases(),
    above=ABOVE,
    spoiled=SPOILED,
    seed=SEEDS,
    powers=st.lists(st.integers(-60, 60), min_size=6),
)
def test_the_weight_covers_a_product_with_the_columns(case, above, spoiled, seed, powers):
    found = case.assess(above=above, spoiled=spoiled)
    x = gaussian(seed, found.space.dimension, 1)
    x *= 2.0 ** doubles(powers)[: len(x), None]
    assert_weight_covers_the_product(case, found, x)


def assert_weight_covers_the_product(case: Known, found: Assessment, x: torch.Tensor) -> None:
    """The same for columns·x as it is computed, for one x."""
    product = rational(measured_product(only(found.space).columns, x))
    gap = entries(exact_columns(case, found.space) * rational(x) - product)
    unsolved, size = largest_unsolved(case, found), square(rational(x))
    for (value,), other, weight in zip(gap, unsolved, found.weight.tolist(), strict=True):
        allowed = fraction(weight) - other
        assert allowed >= 0
        assert value * value <= allowed * allowed * size


def exactly_known(matrix: torch.Tensor, blocks: torch.Tensor) -> Known:
    exact = rational(matrix)
    return Known(matrix, exact, exact, torch.zeros(len(matrix)).double(), blocks)


def losing(size: int) -> torch.Tensor:
    """(1, u, u, …): summed one after another, all that follows the 1 is lost."""
    return doubles([1.0] + [UNIT] * (size - 1))


def test_the_weight_covers_a_sum_within_a_block_that_loses_its_small_terms():
    blocks = torch.eye(60).double()[None].clone()
    blocks[0, 0] = 1.0
    case = exactly_known(losing(60)[:, None], blocks)
    found = case.assess()
    assert float(only(found.space).columns[0, 0]) - 1 < 30 * UNIT
    assert_weight_covers_the_columns(case, found)


def test_the_weight_covers_a_product_that_loses_its_small_terms():
    matrix = torch.eye(24).double()
    matrix[0] = losing(24)
    case = exactly_known(matrix, torch.ones(24, 1, 1).double())
    assert_weight_covers_the_product(case, case.assess(), torch.ones(24, 1).double())


@laws
@given(case=cases(), above=ABOVE, spoiled=SPOILED)
def test_no_entry_of_the_basis_drifts_further_than_it_may(case, above, spoiled):
    found = case.assess(above=above, spoiled=spoiled)
    drifted = entries(exact_basis(case, found.space) - rational(only(found.space).basis))
    preimage = [fraction(h) for h in found.preimage.tolist()]
    for row, drift in zip(drifted, found.drift.tolist(), strict=True):
        assert all(abs(v) <= fraction(drift) * h for v, h in zip(row, preimage, strict=True))


@laws
@given(case=cases(), above=ABOVE, spoiled=SPOILED)
def test_the_deviation_bounds_the_leading_columns_together_and_rises(case, above, spoiled):
    found = case.assess(above=above, spoiled=spoiled)
    drifted = exact_basis(case, found.space) - rational(only(found.space).basis)
    deviation = found.deviation().tolist()
    assert deviation == sorted(deviation)
    for k, bound in enumerate(deviation, start=1):
        assert square(columns_of(drifted, list(range(k)))) <= fraction(bound) ** 2


@laws
@given(case=cases(), above=ABOVE, spoiled=SPOILED)
def test_the_skew_covers_the_basis(case, above, spoiled):
    found = case.assess(above=above, spoiled=spoiled)
    basis = rational(only(found.space).basis)
    skew = basis.transpose() * basis - identity(found.space.dimension)
    assert square(skew) <= fraction(found.skew) ** 2


@laws
@given(case=cases(), above=ABOVE, spoiled=SPOILED)
def test_no_rank_is_shown_that_is_not_there(case, above, spoiled):
    assert case.assess(above=above, spoiled=spoiled).rank <= case.rank


@pytest.mark.parametrize("samples", [3, 20])
def test_directions_that_rounding_made_show_no_rank(samples):
    case = known(5, samples=samples, height=2, rank=4, columns=samples * 2)
    found = case.assess(above=0.0)
    assert found.space.dimension > 4
    assert found.rank == 4


@pytest.mark.parametrize("column", [[1.0, 0.0], [0.5, 0.5], [0.6, 0.6]])
def test_factors_that_are_not_those_of_the_matrix_show_no_rank(column):
    unit = torch.eye(2).double()
    chosen = doubles([column, column]).mT.contiguous()
    rows = Rows(0, chosen, unit, unit, torch.ones(2, 1, 1).double())
    space = Subspace(unit, unit, torch.arange(2), lambda: [rows])
    assert assess(space, torch.zeros(2).double()).rank <= 1


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_the_full_rank_of_a_clear_matrix_is_shown(rank):
    case = known(rank, samples=6, height=2, rank=rank, columns=15, grades=[0, -9, -99, 0, -1, -300])
    assert case.assess().rank == rank


@laws
@given(case=cases(), seed=SEEDS, data=st.data())
def test_a_solution_is_as_long_as_it_says_and_solves_to_what_counts_as_solved(case, seed, data):
    found = case.assess()
    space, r = found.space, found.space.dimension
    k = data.draw(st.integers(1, r))
    right = gaussian(seed, k, 2)
    x, length = solve(space, found.solving, right)
    target = torch.zeros(r, 2).double()
    target[space.pivots[:k]] = torch.linalg.solve_triangular(
        space.triangle[:k, :k], right, upper=True
    )
    missed = entries(rational(space.outer) * rational(x) - rational(target))
    for c, h in enumerate(fraction(h) for h in length.tolist()):
        assert square(columns_of(rational(x), [c])) <= (h * (1 + UNSOLVED)) ** 2
        for row, g in zip(missed, found.solving.tolist(), strict=True):
            assert abs(row[c]) <= fraction(g) * h * (1 + UNSOLVED)


@given(seed=SEEDS, skew=st.sampled_from([0.0, 0.1, 0.9]), size=st.sampled_from([0.0, 0.2, 2.0]))
def test_no_matrix_near_the_basis_is_shorter_than_the_smallest_stretch(seed, skew, size):
    unit = torch.linalg.qr(gaussian(seed, 6, 3)).Q
    stretched = unit * doubles([1 - skew, 1.0, 1 + skew]).sqrt()
    change = gaussian(seed + 1, 6, 3)
    change *= size / torch.linalg.matrix_norm(change, ord=2)
    bound = float(smallest_stretch(skew, doubles(size)))
    smallest = float(torch.linalg.svdvals(stretched + change)[-1])
    assert smallest >= bound - 1e-14


@laws
@given(seed=SEEDS, size=st.integers(1, 4), error=st.integers(-16, 1), decay=st.integers(0, 5))
def test_no_matrix_within_the_error_of_a_nonsingular_one_is_singular(seed, size, error, decay):
    matrix = gaussian(seed, size, size) * 10.0 ** (-decay * torch.arange(size).double())
    inverse = torch.linalg.inv(matrix)
    row_error = 10.0**error * gaussian(seed + 1, size).abs()
    # The nearest singular matrix, of all that differ in one row, is 1/‖Y_j‖ away.
    nearest = [
        1 / float(square(columns_of(rational(matrix).inv(), [j]))) ** 0.5 for j in range(size)
    ]
    found = is_nonsingular(matrix, row_error, inverse)
    assert not found or all(e < d for e, d in zip(row_error.tolist(), nearest, strict=True))
    assert is_nonsingular(matrix, 1e-3 * doubles(nearest) / size, inverse)


def test_a_singular_matrix_is_never_shown_to_be_regular():
    matrix = doubles([[1.0, 2.0], [2.0, 4.0]])
    for inverse in (torch.eye(2).double(), doubles([[1e20, -5e19], [-2e20, 1e20]])):
        assert not is_nonsingular(matrix, torch.zeros(2).double(), inverse)


def test_a_known_matrix_has_a_narrow_assessment():
    found = known(2, samples=5, height=2, rank=6, columns=9).assess(above=64.0)
    assert found.rank == found.space.dimension == 6
    assert float(found.deviation()[-1]) < 1e-9
    assert found.skew < 1e-13


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (1, 3, 1), (3, 1, 1)])
def test_the_smallest_matrices_are_assessed(shape):
    samples, height, columns = shape
    case = known(1, samples=samples, height=height, rank=1, columns=columns)
    assert case.assess().rank == 1


def test_what_was_measured_stays_as_it_was():
    matrix, blocks, error = gaussian(0, 4, 3), gaussian(1, 2, 2, 2), torch.full((4,), 1e-9).double()
    space, _ = find_range(matrix, blocks, 1e-8)
    before = [
        t.clone()
        for t in (error, only(space).chosen, only(space).inner, space.outer, only(space).basis)
    ]
    assess(space, error)
    after = (error, only(space).chosen, only(space).inner, space.outer, only(space).basis)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
