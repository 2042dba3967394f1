"""The bracket against the exact ‖P V‖_F², over the rationals."""

import pytest
import torch
from flint import fmpq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from igsref.linalg.assess import assess
from igsref.linalg.bracket import Bracket, bracket, whole
from igsref.linalg.range import Blocks, Dense, find_range
from tests.linalg.exact import SPOILED, cases, energy, fraction, known, only, rational, square
from tests.strategies import SEEDS, gaussian

laws = settings(max_examples=60)
ABOVE = st.sampled_from([1.0, 1.0, 1e-3, 0.0])
"""Directions counted from so many times the error: below 1, some are nothing but rounding."""
WAYS = st.sampled_from(["any", "inside", "zero"])


def assert_contains(found: Bracket, truth: fmpq) -> None:
    assert fraction(found.lower) <= truth
    assert found.upper == float("inf") or truth <= fraction(found.upper)


def in_place(parts, at_once=256):
    """Block i in place i, and there are no others."""
    return Blocks(parts, torch.arange(len(parts))).split(at_once)


def residuals(case, seed, way):
    """One block a sample: any, in the range, or 0 for the first sample."""
    parts = gaussian(seed, len(case.blocks), case.height)
    if way == "zero":
        parts[0] = 0.0
    if way == "inside":
        inside = torch.block_diag(*case.blocks) @ case.matrix.sum(dim=1)
        parts = inside.view_as(parts).clone()
    return parts


@laws
@given(
    case=cases(),
    seed=SEEDS,
    above=ABOVE,
    way=WAYS,
    spoiled=SPOILED,
    at_once=st.sampled_from([1, 3, 256]),
)
def test_the_bracket_at_the_true_rank_contains_the_energy(case, seed, above, way, spoiled, at_once):
    parts = residuals(case, seed, way)
    known = case.assess(above=above, spoiled=spoiled)
    found = bracket(known, in_place(parts, at_once), case.rank)
    assert_contains(found, case.energy(parts))


@laws
@given(case=cases(), seed=SEEDS, above=ABOVE, way=WAYS, spoiled=SPOILED, more=st.integers(1, 4))
def test_the_bracket_contains_the_energy_whatever_the_rank_may_be(
    case, seed, above, way, spoiled, more
):
    parts = residuals(case, seed, way)
    known = case.assess(above=above, spoiled=spoiled)
    found = bracket(known, in_place(parts), case.rank + more)
    assert_contains(found, case.energy(parts))


@laws
@given(case=cases(), seed=SEEDS, way=WAYS, inflated=st.sampled_from([1e3, 1e6, 1e9]))
def test_a_bracket_for_rows_that_are_known_worse_contains_the_energy(case, seed, way, inflated):
    parts = residuals(case, seed, way)
    found = bracket(case.assess(inflated=inflated), in_place(parts), case.rank)
    assert_contains(found, case.energy(parts))


@laws
@given(case=cases(), seed=SEEDS, above=ABOVE, spoiled=SPOILED, beside=st.booleans())
@example(
    case=known(0, samples=3, height=2, rank=3, columns=3),
    seed=0,
    above=1.0,
    spoiled=1e-3,
    beside=True,
)
@example(
    case=known(0, samples=3, height=2, rank=3, columns=3, noise=1e-3),
    seed=0,
    above=1.0,
    spoiled=0.0,
    beside=True,
)
def test_the_bracket_of_one_sum_contains_its_energy(case, seed, above, spoiled, beside):
    known, vector = case.assess(above=above, spoiled=spoiled), gaussian(seed, len(case.matrix), 1)
    if beside:  # what the basis does not see, and the range may
        basis = torch.linalg.qr(only(known.space).basis).Q
        vector = vector - basis @ (basis.mT @ vector)
    found = bracket(known, [Dense(vector)], case.rank)
    assert_contains(found, energy(case.mixed() * case.spanning, rational(vector)))


@laws
@given(case=cases(), seed=SEEDS, above=ABOVE, more=st.integers(0, 2))
def test_a_bracket_is_in_order_and_not_above_everything(case, seed, above, more):
    vectors = in_place(residuals(case, seed, "any"))
    found = bracket(case.assess(above=above), vectors, case.rank + more)
    assert 0 <= found.lower <= found.upper <= max(whole(vectors).upper, found.lower)
    assert found.lower <= found.upper_at_rank


@laws
@given(case=cases(), seed=SEEDS, more=st.integers(0, 4))
def test_the_upper_end_at_the_numerical_rank_holds_where_that_is_the_rank(case, seed, more):
    known = case.assess()
    if known.space.dimension != case.rank:
        return
    parts = residuals(case, seed, "any")
    found = bracket(known, in_place(parts), case.rank + more)
    assert found.upper_at_rank == float("inf") or case.energy(parts) <= fraction(
        found.upper_at_rank
    )
    assert_contains(found.at_rank(), case.energy(parts))


BENIGN = {
    "square": {"samples": 4, "height": 2, "rank": 8, "columns": 8},
    "tall": {"samples": 6, "height": 2, "rank": 5, "columns": 5},
    "wide": {"samples": 6, "height": 2, "rank": 9, "columns": 40},
    "rank-deficient": {"samples": 6, "height": 2, "rank": 4, "columns": 12},
    "graded": {"samples": 4, "height": 2, "rank": 5, "columns": 9, "grades": [0, -10, -20, -30]},
    "one row": {"samples": 1, "height": 1, "rank": 1, "columns": 3},
    "one sample": {"samples": 1, "height": 3, "rank": 2, "columns": 2},
}
benign = pytest.mark.parametrize("shape", BENIGN.values(), ids=BENIGN)


@benign
def test_a_clear_matrix_has_a_narrow_bracket(shape):
    case = known(7, **shape)
    parts = residuals(case, 8, "any")
    found = bracket(case.assess(above=64.0), in_place(parts), case.rank)
    assert_contains(found, case.energy(parts))
    # Some hundred roundings, and the condition of small random matrices on top.
    assert found.upper - found.lower <= 1e-10 * found.upper
    assert found.upper <= found.upper_at_rank <= found.upper * (1 + 1e-9)


@benign
def test_rows_that_are_known_worse_widen_the_bracket(shape):
    case = known(7, **shape)
    vectors = in_place(residuals(case, 8, "any"))
    space = case.find(above=64.0)
    error = 1e-15 * case.matrix.norm(dim=1)
    found = [bracket(assess(space, error * 10**k), vectors, case.rank) for k in (0, 3, 6, 9)]
    widths = [b.upper - b.lower for b in found]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


@benign
def test_a_possible_further_direction_costs_no_more_than_the_largest_residual(shape):
    case = known(7, **shape)
    vectors = in_place(residuals(case, 8, "any"))
    narrow, wide = (bracket(case.assess(above=64.0), vectors, case.rank + more) for more in (0, 1))
    basis = only(case.find(above=64.0)).basis
    left = torch.cat([part.rows(slice(0, len(basis))) for part in vectors], dim=1)
    left = left - basis @ (basis.mT @ left)
    largest = float(torch.linalg.matrix_norm(left, ord=2)) ** 2
    allowed = min(narrow.upper + largest, whole(vectors).upper)
    assert wide.lower == narrow.lower
    assert wide.upper_at_rank == narrow.upper_at_rank
    assert wide.upper == pytest.approx(allowed, rel=1e-6)


@laws
@given(seed=SEEDS, more=st.integers(1, 3), columns=st.integers(1, 5), size=st.integers(-12, 0))
def test_directions_that_nothing_is_known_of_are_allowed_for(seed, more, columns, size):
    # A range of which some directions are below the cut, and the worst that they may add: the
    # directions are the leading ones of the residuals.
    n, r = 8, 3
    basis = torch.linalg.qr(gaussian(seed, n, r)).Q
    vectors = gaussian(seed + 1, n, columns)
    outside = vectors - basis @ (basis.mT @ vectors)
    worst = torch.linalg.svd(outside).U[:, :more] * 10.0**size
    matrix = basis @ gaussian(seed + 2, r, r)
    blocks = torch.eye(2, dtype=torch.float64).expand(4, 2, 2).contiguous()
    space, _ = find_range(matrix, blocks, 1e-9)
    # The matrix (K, 0), and (0, worst) its error.
    error = worst.norm(dim=1) if size <= -9 else 1e-15 * matrix.norm(dim=1)
    found = bracket(assess(space, error), [Dense(vectors)], r + more)
    exact = rational(torch.cat([matrix, worst], dim=1))
    assert_contains(found, energy(exact, rational(vectors)))


@laws
@given(
    seed=SEEDS,
    places=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    height=st.integers(1, 3),
    at_once=st.integers(1, 8),
)
@example(seed=0, places=[0], height=1, at_once=256)
def test_blocks_are_the_columns_that_hold_them_in_place(seed, places, height, at_once):
    parts = gaussian(seed, len(places), height)
    expected = torch.zeros(6, height, len(places), dtype=torch.float64)
    for column, (part, place) in enumerate(zip(parts, places, strict=True)):
        expected[place, :, column] = part
    found = Blocks(parts, torch.tensor(places)).split(at_once)
    assert all(len(part.squares()) <= at_once for part in found)
    for start, stop in [(0, 6), (1, 4), (5, 6)]:
        rows = slice(start * height, stop * height)
        held = torch.cat([part.rows(rows) for part in found], dim=1)
        assert torch.equal(held, expected.view(-1, len(places))[rows])
    assert torch.equal(torch.cat([part.squares() for part in found]), parts.square().sum(dim=1))


@benign
@pytest.mark.parametrize("more", [0, 2])
def test_a_bracket_is_the_same_for_blocks_and_columns_however_many_at_once(shape, more):
    case = known(7, **shape)
    parts, found = residuals(case, 8, "any"), case.assess(above=64.0)
    whole_matrix = torch.block_diag(*parts[:, None]).mT
    one, *others = (
        bracket(found, vectors, case.rank + more)
        for vectors in (
            in_place(parts),
            *(in_place(parts, at_once) for at_once in (1, 2, 3)),
            [Dense(whole_matrix)],
            [Dense(part) for part in whole_matrix.split(2, dim=1)],
        )
    )
    for other in others:
        # The same sums in another order.
        assert other.lower == pytest.approx(one.lower, rel=1e-9)
        if more == 0 or other.upper < one.upper:  # singular values are those of one part only
            assert other.upper == pytest.approx(one.upper, rel=1e-9)
        assert other.upper_at_rank == pytest.approx(one.upper_at_rank, rel=1e-9)


@laws
@given(seed=SEEDS, samples=st.integers(1, 9), height=st.integers(1, 3), power=st.integers(-99, 99))
def test_the_whole_space_has_the_whole_energy(seed, samples, height, power):
    parts = 2.0**power * gaussian(seed, samples, height)
    found, truth = whole(in_place(parts, 2)), square(rational(parts))
    assert_contains(found, truth)
    assert found.upper_at_rank == found.upper
    assert found.upper - found.lower <= 1e-13 * found.upper
    assert found.upper > found.lower


def test_nothing_has_no_energy():
    zero = torch.zeros(2, 2, dtype=torch.float64)
    assert whole(in_place(zero)) == Bracket(0.0, 0.0, 0.0)
    case = known(0, samples=2, height=2, rank=3, columns=3)
    assert bracket(case.assess(), in_place(zero), 3) == Bracket(0.0, 0.0, 0.0)


@pytest.mark.parametrize("size", [1.0, 1e100, float("inf")])
def test_rows_that_nothing_is_known_of_leave_everything_open(size):
    case = known(0, samples=3, height=2, rank=3, columns=4)
    parts = residuals(case, 1, "zero")
    error = torch.full_like(case.row_error, size)
    found = bracket(assess(case.find(above=64.0), error), in_place(parts), 3)
    assert found.lower == 0
    assert found.upper == whole(in_place(parts)).upper
    assert found.upper_at_rank == float("inf")


@pytest.mark.parametrize("more", [0, 1, 3])
def test_solutions_that_overflow_leave_the_bracket_wide_and_true(more):
    grades = [-410, -10, 0, -695, -36, -644]
    case = known(254158, samples=6, height=1, rank=6, columns=11, noise=0.1, grades=grades)
    parts = residuals(case, 1, "any")
    assert float(case.assess().preimage.max()) == float("inf")
    found = bracket(case.assess(), in_place(parts), case.rank + more)
    assert_contains(found, case.energy(parts))
    assert found.upper_at_rank == float("inf")
