"""The least sum over row and column scalings: closed forms, an independent minimiser, the gap."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from igsref.linalg.geometric_programme import _laplacian_solve, _shortfall, scaled_sum_minimum
from tests.strategies import SEEDS

CASES = settings(max_examples=25, deadline=None)


def float64(entries: list) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def uniform(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def matrices(seed: int, rows: int, columns: int, *, orders: float, zeros: float):
    """h and w of entries 10^±orders, a share of them 0."""
    h, w = 10 ** (orders * (2 * uniform(seed, 2, rows, columns) - 1))
    kept = uniform(seed + 1, 2, rows, columns) >= zeros
    return h * kept[0], w * kept[1]


def independent(h: Tensor, w: Tensor) -> float:
    """What BFGS of scipy reaches in the logarithms: an upper bound of the infimum."""
    rows, h, w = len(h), h.numpy(), w.numpy()

    def objective(z):
        a = np.clip(z[:rows, None] + z[None, rows:], -300, 300)
        p, q = h * np.exp(a), w * np.exp(-a)
        return (p + q).sum(), np.concatenate([(p - q).sum(axis=1), (p - q).sum(axis=0)])

    start = np.zeros(sum(h.shape))
    options = {"gtol": 1e-12, "maxiter": 2000}
    return float(minimize(objective, start, jac=True, method="BFGS", options=options).fun)


@given(h=st.floats(1e-150, 1e150), w=st.floats(1e-150, 1e150))
def test_one_entry_has_the_minimum_twice_the_geometric_mean(h, w):
    found = scaled_sum_minimum(float64([[h]]), float64([[w]]))
    # Two roundings of each root and one of the product.
    assert found.value == pytest.approx(2 * math.sqrt(h) * math.sqrt(w), rel=8 * 2.0**-52)
    assert found.gap <= 1e-12 * found.value


@CASES
@given(seed=SEEDS, rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_rank_one_matrices_have_the_minimum_of_their_factors(seed, rows, columns):
    a, c = uniform(seed, 2, rows) + 0.01
    b, d = uniform(seed + 1, 2, columns) + 0.01
    found = scaled_sum_minimum(torch.outer(a, b), torch.outer(c, d))
    expected = float(2 * (a * c).sqrt().sum() * (b * d).sqrt().sum())
    # The closed form's own rounding: sums of at most five positive terms, roots and products.
    assert abs(found.value - expected) <= found.gap + 16 * 2.0**-52 * expected


@CASES
@given(
    seed=SEEDS,
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    zeros=st.sampled_from([0.0, 0.3, 0.6]),
)
def test_an_independent_minimiser_finds_the_same(seed, rows, columns, zeros):
    h, w = matrices(seed, rows, columns, orders=1, zeros=zeros)
    found = scaled_sum_minimum(h, w)
    reached = independent(h, w)
    rounding = 64 * 2.0**-52 * reached
    assert found.value - found.gap <= reached + rounding
    # Entries on their way to 0 have the size of the gradient that is left of them: BFGS ends
    # where it stands still, with up to a root of eps of the value in each.
    assert reached <= found.value + (1 + found.value) * rows * columns * 2.0**-26


@CASES
@given(
    seed=SEEDS,
    orders=st.sampled_from([1, 4, 8]),
    zeros=st.sampled_from([0.0, 0.4]),
    tolerance=st.sampled_from([0.5, 0.1, 1e-3, 1e-6]),
)
def test_a_minimum_given_up_early_is_enclosed_by_its_gap(seed, orders, zeros, tolerance):
    h, w = matrices(seed, 4, 6, orders=orders, zeros=zeros)
    early = scaled_sum_minimum(h, w, tolerance=tolerance)
    late = scaled_sum_minimum(h, w, tolerance=0.0)
    assert late.gap <= 64 * 2.0**-52 * late.value
    assert early.gap <= 1.001 * tolerance * early.value
    assert early.value - early.gap <= late.value
    assert late.value - late.gap <= early.value


def test_a_gap_is_not_merely_nominal():
    h, w = matrices(3, 4, 6, orders=4, zeros=0.0)
    early = scaled_sum_minimum(h, w, tolerance=0.5)
    late = scaled_sum_minimum(h, w, tolerance=0.0)
    assert 0 < early.value - late.value <= early.gap <= 0.5 * early.value


@CASES
@given(seed=SEEDS, zeros=st.sampled_from([0.0, 0.4]), reach=st.sampled_from([1, 10, 60]))
def test_scaling_rows_and_columns_does_not_matter(seed, zeros, reach):
    h, w = matrices(seed, 4, 6, orders=1, zeros=zeros)
    powers = [(2 * reach * uniform(seed + k, n) - reach).round() for k, n in ((2, 4), (3, 6))]
    scale = torch.outer(2.0 ** powers[0], 2.0 ** powers[1])
    before, after = scaled_sum_minimum(h, w), scaled_sum_minimum(h * scale, w / scale)
    # Powers of two round nothing, so that both brackets hold the same number.
    assert abs(before.value - after.value) <= max(before.gap, after.gap)


@CASES
@given(seed=SEEDS, zeros=st.sampled_from([0.0, 0.5]))
def test_transposing_and_exchanging_the_matrices_do_not_matter(seed, zeros):
    h, w = matrices(seed, 3, 5, orders=2, zeros=zeros)
    first = scaled_sum_minimum(h, w)
    for other in (scaled_sum_minimum(h.T, w.T), scaled_sum_minimum(w, h)):
        assert abs(first.value - other.value) <= max(first.gap, other.gap)


@pytest.mark.parametrize(
    ("h", "w", "expected"),
    [
        ([[5.0]], [[0.0]], 0.0),
        ([[0.0]], [[0.0]], 0.0),
        # h_01 lies on no cycle and vanishes as s₂_0/s₂_1 → 0 beside fixed products on the diagonal.
        ([[1.0, 7.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]], 6.0),
        # A row without w is scaled away altogether.
        ([[1.0, 1.0], [9.0, 9.0]], [[4.0, 1.0], [0.0, 0.0]], 6.0),
        # h on one diagonal and w on the other are one cycle: s₂ᵀhs₁ = a + b, the rest 1/a + 1/b.
        ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], 4.0),
    ],
)
def test_zeros_take_what_is_on_no_cycle_out_of_the_infimum(h, w, expected):
    found = scaled_sum_minimum(float64(h), float64(w))
    assert abs(found.value - expected) <= found.gap


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 1.05])
@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_a_step_that_leaves_sums_behind_proves_no_more_than_is_true(axis, share):
    # f = 4eᵗ + e⁻ᵗ is 5 at 0 and 4 at its minimum, t = −ln 2; Newton's step is −3/5. Sums of y
    # that are left when the step is a share of that move the bound by sum × t.
    p, q, none = float64([[4.0]]), float64([[1.0]]), float64([0.0])
    step = float64([-0.6 * share])
    d2, d1 = (step, none) if axis == "rows" else (none, step)
    assert _shortfall(p, q, d2, d1) >= 1.0


def test_a_weak_link_between_two_groups_costs_no_digits():
    weights = torch.zeros(4, 4, dtype=torch.float64)
    for i, weight in enumerate([1.0, 2.0**-100, 1.0]):
        weights[i, i + 1] = weights[i + 1, i] = weight
    right = torch.tensor([-1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    x = _laplacian_solve(weights, right)
    assert x.tolist() == [0.0, 1.0, 2.0**100, 2.0**100]
    # The matrix itself has forgotten the link: it is singular as float64 writes it.
    matrix = (torch.diag(weights.sum(dim=1)) - weights)[1:, 1:]
    assert int(torch.linalg.solve_ex(matrix, right[1:])[1]) != 0


@pytest.mark.parametrize(
    ("h", "w", "options", "error", "message"),
    [
        (
            [[-1.0]],
            [[1.0]],
            {},
            ValueError,
            r"growing must be finite and at least 0; growing\[0, 0",
        ),
        ([[1.0, 1.0]], [[1.0, math.nan]], {}, ValueError, r"shrinking\[0, 1\] is nan"),
        ([[math.inf]], [[1.0]], {}, ValueError, "growing must be finite"),
        ([[1.0]], [[1.0]], {"tolerance": -1.0}, ValueError, "tolerance must be at least 0"),
        (
            [[1e-300, 1.0], [1.0, 1e300]],
            [[1e300, 1.0], [1.0, 1e-300]],
            {},
            OverflowError,
            "ratios are float64 numbers",
        ),
    ],
)
def test_bad_input_is_refused(h, w, options, error, message):
    with pytest.raises(error, match=message):
        scaled_sum_minimum(float64(h), float64(w), **options)


def test_the_matrices_stay_as_they_are():
    h, w = matrices(0, 3, 4, orders=1, zeros=0.2)
    copies = h.clone(), w.clone()
    scaled_sum_minimum(h, w)
    assert torch.equal(h, copies[0]) and torch.equal(w, copies[1])
