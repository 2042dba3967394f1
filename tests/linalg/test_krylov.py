"""Block Krylov spaces against textbook ones, LSQR's iterates and exact ranks."""

import pytest
import torch
from scipy.sparse.linalg import lsqr

from igsref.linalg.krylov import KrylovSpace, extended, krylov_space, orthonormal
from tests.closeness import EPS, assert_within
from tests.linalg.exact import doubles, rational
from tests.strategies import gaussian

TOLERANCE = 64 * EPS


def products(c, weights=None):
    """V ↦ (C V, CᵀWC V)."""

    def normal(vectors):
        images = c @ vectors
        return images, c.mT @ (images if weights is None else weights @ images)

    return normal


def grown(c, sides, steps, weights=None):
    """Spaces before and after each step, from the seeds CᵀW B."""
    seeds = c.mT @ (sides if weights is None else weights @ sides)
    spaces = [krylov_space(seeds, len(c), TOLERANCE)]
    for _ in range(steps):
        spaces.append(extended(spaces[-1], products(c, weights), TOLERANCE))
    return spaces


def exhausted(c, sides):
    """All spaces until nothing is left to find."""
    spaces = grown(c, sides, 0)
    while spaces[-1].frontier.shape[1]:
        assert spaces[-1].dimension < c.shape[1], "a whole space has a frontier"
        spaces.append(extended(spaces[-1], products(c), TOLERANCE))
    return spaces


def with_singular_values(values, rows, columns, seed=0):
    """A matrix of known singular values, its singular vectors drawn."""
    left, right = (
        torch.linalg.qr(gaussian(seed + i, size, len(values))).Q
        for i, size in enumerate((rows, columns))
    )
    return left * doubles(values) @ right.mT


def small_integers(seed, *shape):
    return gaussian(seed, *shape).mul(2).round()


def textbook(c, sides, steps, weights):
    """Z, M Z, …, M^{k−1} Z, exact where all are integers, M = CᵀWC and Z = CᵀW B."""
    columns = [c.mT @ weights @ sides]
    for _ in range(steps - 1):
        columns.append(c.mT @ weights @ c @ columns[-1])
    return columns


@pytest.mark.parametrize("sides", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_basis_spans_the_textbooks_krylov_space(sides, weighted):
    c, b = small_integers(0, 9, 7), small_integers(1, 9, sides)
    half = small_integers(2, 8, 9)  # of rank 8: W may be singular
    weights = half.mT @ half if weighted else torch.eye(9).double()
    spaces = grown(c, b, 2, weights)
    norm = float(torch.linalg.matrix_norm(c.mT @ weights @ c, 2))
    for steps, space in enumerate(spaces[1:], start=1):
        columns = textbook(c, b, steps, weights)
        assert float(torch.cat(columns, dim=1).abs().max()) < 2**53
        assert space.dimension == rational(torch.cat(columns, dim=1)).rank() == steps * sides
        for power, column in enumerate(columns):
            outside = column - space.basis @ (space.basis.mT @ column)
            # Each step leaves out rounding below the tolerance and makes as much again; 9 rows.
            allowed = 2 * 9 * (power + 1) * TOLERANCE * norm**power
            size = column.norm(dim=0) if power == 0 else columns[0].norm(dim=0)
            assert_within(outside.norm(dim=0), torch.zeros(sides).double(), allowed * size)


@pytest.mark.parametrize("sides", [1, 3])
def test_bases_are_orthonormal_and_images_multiplied_out(sides):
    # Singular values over six orders: a recurrence without reorthogonalisation loses all of it.
    values = torch.logspace(0, -6, 30, dtype=torch.float64).tolist()
    c = with_singular_values(values, 40, 60)
    for space in grown(c, gaussian(5, 40, sides), 9):
        together = torch.cat([space.basis, space.frontier], dim=1)
        unit = torch.eye(together.shape[1]).double()
        # A product of 60 terms; a column of a QR is good to some √60 roundings of its own.
        assert_within(together.mT @ together, unit, 60 * EPS)
        # The same products, in another blocking: sums of 60 terms, ‖C‖ = 1.
        assert_within(space.images, c @ space.basis, 60 * EPS)


@pytest.mark.parametrize(("rows", "columns"), [(12, 9), (9, 12)])
def test_one_right_hand_side_has_lsqrs_iterates(rows, columns):
    c = with_singular_values([4.0, 3.7, 3.1, 2.5, 2.2, 1.9, 1.4, 1.2, 1.0], rows, columns)
    b = gaussian(7, rows, 1)
    for steps, space in enumerate(grown(c, b, 6)):
        if steps == 0:
            continue
        expected = lsqr(c.numpy(), b[:, 0].numpy(), atol=0, btol=0, conlim=0, iter_lim=steps)
        assert expected[2] == steps
        coefficients = space.coefficients(b, TOLERANCE)
        # LSQR does not reorthogonalise: a rounding of some 12 terms in each step is amplified by
        # κ² = 16 in each of the next few at most (it converges long before that would matter).
        allowed = 12 * steps * 16 * EPS * float(b.norm())
        solution = torch.from_numpy(expected[0])[:, None]
        assert_within(space.basis @ coefficients, solution, allowed)
        residual = float((b - space.images @ coefficients).norm())
        assert residual == pytest.approx(expected[3], abs=4 * allowed)


def test_all_right_hand_sides_share_all_directions():
    c, b = gaussian(0, 20, 15), gaussian(1, 20, 3)
    space = grown(c, b, 3)[-1]
    shared = b - space.images @ space.coefficients(b, TOLERANCE)
    # The residual of least squares is orthogonal to what it is made from: sums of 20 terms.
    allowed = 20 * 9 * EPS * float(torch.linalg.matrix_norm(c, 2)) * b.norm(dim=0)
    assert_within(space.images.mT @ shared, torch.zeros(9, 3).double(), allowed.expand(9, 3))
    for column in range(3):
        alone = grown(c, b[:, [column]], 3)[-1]
        own = b[:, [column]] - alone.images @ alone.coefficients(b[:, [column]], TOLERANCE)
        assert float(shared[:, column].norm()) < float(own.norm()) - float(allowed.max())


@pytest.mark.parametrize(
    ("values", "sides", "dimensions"),
    [
        ([3.0, 2.0, 1.0], 1, [1, 2, 3]),
        ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 2, [2, 4, 6]),
        ([5.0, 4.0, 3.0, 2.0], 3, [3, 4]),
        ([2.0, 1.0], 4, [2]),
        # Invariant before the rank: three different singular values, two of each in reach.
        ([3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0], 2, [2, 4, 6]),
        ([1.0] * 7, 3, [3]),
    ],
)
@pytest.mark.parametrize(("rows", "columns"), [(14, 10), (10, 14)])
def test_an_invariant_space_has_no_frontier(values, sides, dimensions, rows, columns):
    c = with_singular_values(values, rows, columns, seed=3)
    b = gaussian(8, rows, sides)
    spaces = exhausted(c, b)
    assert [space.dimension for space in spaces] == [0, *dimensions]
    last = spaces[-1]
    residual = b - last.images @ last.coefficients(b, TOLERANCE)
    expected = b - c @ (torch.linalg.pinv(c) @ b)
    # Two ways to a least-squares residual, κ ≤ 6.
    assert_within(residual, expected, 6 * 14 * EPS * float(b.norm()))


def test_directions_beyond_the_rank_are_rounding():
    """The last of many single steps are short, and with them what is left counts as a direction."""
    c = with_singular_values([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 14, 10, seed=3)
    b = gaussian(8, 14, 1)
    spaces = exhausted(c, b)
    assert [space.dimension for space in spaces[:7]] == list(range(7))
    assert spaces[-1].dimension <= 10
    expected = b - c @ (torch.linalg.pinv(c) @ b)
    for space in spaces[6:]:
        assert int((torch.linalg.svdvals(space.images) > 6 * TOLERANCE).sum()) == 6
        residual = b - space.images @ space.coefficients(b, TOLERANCE)
        assert_within(residual, expected, 6 * 14 * EPS * float(b.norm()))


def test_a_space_is_no_larger_than_what_it_lies_in():
    c = gaussian(0, 12, 5)
    spaces = exhausted(c, gaussian(1, 12, 8))
    assert [space.dimension for space in spaces] == [0, 5]
    assert spaces[0].frontier.shape == (5, 5)


def test_no_right_hand_side_has_an_empty_space():
    for seeds in (torch.zeros(6, 2).double(), torch.zeros(6, 0).double()):
        space = krylov_space(seeds, 9, TOLERANCE)
        assert space.dimension == 0
        assert (space.basis.shape, space.images.shape) == ((6, 0), (9, 0))
        assert space.frontier.shape == (6, 0)


def test_seeds_that_are_zero_or_come_twice_are_left_out():
    a, b = gaussian(0, 6), gaussian(1, 6)
    seeds = torch.stack([a, torch.zeros(6).double(), b, -2 * a, a + b], dim=1)
    frontier = krylov_space(seeds, 9, TOLERANCE).frontier
    assert frontier.shape == (6, 2)
    # b and a span it: parts of a few of their lengths, through two unit vectors 6 long.
    inside = frontier @ (frontier.mT @ seeds)
    assert_within(inside, seeds, 6 * TOLERANCE * float(seeds.norm()))


def test_seeds_count_by_their_direction():
    """A confident sample beside a misclassified one: neither is lost."""
    seeds = gaussian(0, 6, 2) * doubles([1e-30, 1e30])
    assert krylov_space(seeds, 9, TOLERANCE).frontier.shape == (6, 2)
    assert orthonormal(seeds, seeds.new_zeros(6, 0), TOLERANCE).shape == (6, 1)


@pytest.mark.parametrize("outside", [1.0, 1e-6, 1e-12])
def test_what_hardly_stands_out_of_a_span_is_made_orthogonal_to_it(outside):
    basis = torch.linalg.qr(gaussian(0, 20, 4)).Q
    vectors = basis @ gaussian(1, 4, 3) + outside * gaussian(2, 20, 3)
    found = orthonormal(vectors, basis, TOLERANCE)
    assert found.shape == (20, 3)
    assert_within(found.mT @ found, torch.eye(3).double(), 20 * EPS)
    assert_within(basis.mT @ found, torch.zeros(4, 3).double(), 20 * EPS)


@pytest.mark.parametrize("apart", [1e-6, 1e-12])
def test_vectors_that_hardly_differ_are_made_orthogonal_to_the_span_too(apart):
    basis, vector = torch.linalg.qr(gaussian(0, 20, 4)).Q, gaussian(1, 20, 1)
    found = orthonormal(
        torch.cat([vector, vector + apart * gaussian(2, 20, 1)], 1), basis, TOLERANCE
    )
    assert found.shape == (20, 2)
    assert_within(found.mT @ found, torch.eye(2).double(), 20 * EPS)
    assert_within(basis.mT @ found, torch.zeros(4, 2).double(), 20 * EPS)


@pytest.mark.parametrize(("outside", "kept"), [(1e-13, 1), (1e-15, 0)])
def test_directions_below_the_tolerance_are_left_out(outside, kept):
    # Unit vectors, so that nothing is rounded: 64 eps = 1.4e-14 lies between.
    basis, vector = torch.eye(5).double()[:, :2], doubles([[1.0], [0.0], [outside], [0.0], [0.0]])
    assert orthonormal(vector, basis, TOLERANCE).shape == (5, kept)


def test_what_rounding_may_have_made_is_no_direction_of_the_range():
    u = torch.eye(6).double()
    basis = torch.eye(8).double()[:, :3]
    noisy = torch.stack([2 * u[0], u[1], 1e-15 * u[2]], dim=1)
    space = KrylovSpace(basis, noisy, basis[:, :0])
    b = (u[0] + u[1] + u[2])[:, None]
    # Diagonal, so each coefficient is one division and some rotations by rounding.
    assert_within(space.coefficients(b, TOLERANCE), doubles([[0.5], [1.0], [0.0]]), 4 * EPS)
    assert float(space.coefficients(b, 0.0).abs().max()) > 1e14


def test_a_range_of_nothing_has_no_coefficients():
    basis = torch.eye(8).double()[:, :3]
    space = KrylovSpace(basis, torch.zeros(6, 3).double(), basis[:, :0])
    assert torch.equal(space.coefficients(gaussian(0, 6, 2), TOLERANCE), torch.zeros(3, 2).double())
