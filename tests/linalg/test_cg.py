"""Conjugate gradients: what they solve, what they bound, and how they end where they cannot."""

import math
from itertools import pairwise

import pytest
import torch

from igsref.linalg.cg import conjugate_gradient
from tests.closeness import EPS, assert_within
from tests.linalg.exact import doubles
from tests.strategies import gaussian


def singular(seed, size=30, rank=20, smallest=0.05):
    """A matrix, eigenvalues in [smallest, 1] and 0; a basis of its range; its pseudo-inverse."""
    basis = torch.linalg.qr(gaussian(seed, size, size)).Q[:, :rank]
    values = torch.linspace(smallest, 1, rank, dtype=torch.float64)
    return (basis * values) @ basis.mT, basis, (basis / values) @ basis.mT


def by(matrix):
    return lambda vectors: matrix @ vectors


def solve(matrix, g, **options):
    return conjugate_gradient(
        by(matrix), g, **{"tolerance": 1e-11, "max_iterations": 200, **options}
    )


@pytest.mark.parametrize("seed", range(4))
def test_in_the_range_the_limit_is_that_of_the_pseudo_inverse(seed):
    matrix, basis, inverse = singular(seed)
    g = basis @ gaussian(seed + 10, 20, 3)
    found = solve(matrix, g)
    assert found.reasons == ("converged",) * 3
    # ‖x − F⁺g‖ ≤ ‖residual‖/λ_min; rounding is far below.
    allowed = 1e-11 * g.norm(dim=0) / 0.05 + 1000 * EPS
    assert bool(((found.x - inverse @ g).norm(dim=0) <= allowed).all())
    assert_within(found.residual_norms, (g - matrix @ found.x).norm(dim=0), 1000 * EPS)
    # The bound falls short by the residual's energy, ‖r‖²/λ_min at most.
    exact = (g * (inverse @ g)).sum(dim=0)
    assert_within(found.lower, exact, 1000 * EPS * exact)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_every_iterate_bounds_the_energy_from_below(seed, damping):
    matrix, basis, inverse = singular(seed)
    g = basis @ gaussian(seed + 10, 20, 1)
    exact, before = float((g * (inverse @ g)).sum()), 0.0
    for iterations in (1, 2, 4, 8):
        settings = {"damping": damping, "in_range": True, "tolerance": 1e-15}
        found = solve(matrix, g, max_iterations=iterations, **settings)
        assert found.reasons == ("iterations",)
        x = found.x
        stated = float((x * (2 * g - matrix @ x)).sum())
        assert stated <= float(found.lower) * (1 + 1000 * EPS)
        assert 0 < float(found.lower) <= exact * (1 + 1000 * EPS)
        if damping == 0.0:  # an iterate is the best multiple of itself, and better than the last
            assert stated == pytest.approx(float(found.lower), rel=1e-12)
            assert float(found.lower) > before
        else:
            best = float((g * x).sum()) ** 2 / float((x * (matrix @ x)).sum())
            assert stated < 0.999 * best
            assert float(found.lower) == pytest.approx(best, rel=1e-12)
        before = float(found.lower)
    assert before > (0.9 if damping == 0.0 else 0.5) * exact


@pytest.mark.parametrize("damping", [1e-3, 1.0])
def test_damping_regularises_any_right_hand_side(damping):
    matrix, _, _ = singular(1)
    g = gaussian(5, 30, 2)
    found = solve(matrix, g, damping=damping)
    expected = torch.linalg.solve(matrix + damping * torch.eye(30).double(), g)
    allowed = (1e-11 * g.norm(dim=0) / damping + 1000 * EPS).expand(30, 2)
    assert_within(found.x, expected, allowed)
    assert found.reasons == ("converged",) * 2


@pytest.mark.parametrize("outside", [1e-6, 1.0])
def test_what_is_not_in_the_range_is_told_apart_column_by_column(outside):
    matrix, basis, inverse = singular(2)
    g = basis @ gaussian(7, 20, 4)
    away = gaussian(8, 30, 1)
    away -= basis @ (basis.mT @ away)
    g[:, 1] += outside * away[:, 0]
    g[:, 2] = away[:, 0]
    g[:, 3] = 0.0
    found = solve(matrix, g)
    assert found.reasons == ("converged", "not in range", "not in range", "converged")
    assert float(found.lower[0]) == pytest.approx(float(g[:, 0] @ inverse @ g[:, 0]), rel=1e-12)
    assert found.lower.isnan().tolist() == [False, True, True, False]
    # No x leaves less than the part outside, and the fresh residual does not say otherwise.
    assert float(found.residual_norms[1]) >= outside * float(away.norm()) * (1 - 1e-6)
    assert bool((found.x[:, 3] == 0).all()) and float(found.lower[3]) == 0.0
    assert found.iterations[2:].tolist() == [0, 0]


def test_a_curvature_that_rounding_explains_is_none():
    # Products by a diagonal matrix are exact, so that p.Fp stays positive however small it gets.
    values = torch.linspace(1, 2, 40, dtype=torch.float64)
    values[30:] = 0.0
    found = solve(torch.diag(values), torch.ones(40, 1).double(), max_iterations=60)
    assert found.reasons == ("not in range",)


def test_a_small_part_outside_does_not_matter_below_the_tolerance():
    matrix, basis, _ = singular(2)
    g = basis @ gaussian(7, 20, 1)
    away = gaussian(8, 30, 1)
    g += 1e-9 * (away - basis @ (basis.mT @ away))
    assert solve(matrix, g, tolerance=1e-8).reasons == ("converged",)
    assert solve(matrix, g, tolerance=1e-11).reasons == ("not in range",)


@pytest.mark.parametrize("seed", range(4))
def test_a_tolerance_below_rounding_does_not_put_g_out_of_the_range(seed):
    matrix, basis, inverse = singular(seed)
    g = basis @ gaussian(seed + 10, 20, 2)
    found = solve(matrix, g, tolerance=1e-30)
    assert found.reasons == ("stagnated",) * 2
    exact = (g * (inverse @ g)).sum(dim=0)
    assert_within(found.lower, exact, 1000 * EPS * exact)


def test_eigenvalues_down_to_rounding_hide_that_and_the_column_runs_out():
    values = torch.exp(-torch.arange(200, dtype=torch.float64) / 5)
    values[150:] = 0.0
    g = values.sqrt()[:, None] * gaussian(3, 200, 1)
    g[150:] = 1e-6
    found = conjugate_gradient(lambda v: values[:, None] * v, g, tolerance=1e-10, max_iterations=60)
    assert found.reasons == ("iterations",)
    assert float(found.residual_norms) > 1e-10 * float(g.norm())


def test_the_recurrence_is_not_believed():
    values = torch.logspace(0, -2, 30, dtype=torch.float64)[:, None]
    g, calls = gaussian(4, 30, 1), []

    def inexact(vectors):
        calls.append(None)
        return values * vectors + 1e-9 * gaussian(len(calls), *vectors.shape) * vectors.norm()

    found = conjugate_gradient(inexact, g, tolerance=1e-8, max_iterations=2000)
    assert found.reasons == ("stagnated",)
    assert all(check.recurrence <= 1e-8 * float(g.norm()) for check in found.history)
    assert all(check.recomputed > 1e-8 * float(g.norm()) for check in found.history)
    assert float(found.residual_norms) == found.history[-1].recomputed
    # Each look but the last had at least halved the fresh residual.
    fresh = [float(g.norm()), *(check.recomputed for check in found.history)]
    assert all(after <= before / 2 for before, after in pairwise(fresh[:-1]))
    assert fresh[-1] > fresh[-2] / 2


def test_work_goes_on_from_a_fresh_residual():
    matrix, basis, inverse = singular(4)
    g, calls = basis @ gaussian(6, 20, 1), []

    def wrong_once(vectors):
        calls.append(None)
        return (1.001 if len(calls) == 3 else 1.0) * (matrix @ vectors)

    found = conjugate_gradient(wrong_once, g, tolerance=1e-10, max_iterations=500)
    allowed = 1e-10 * float(g.norm())
    first, last = found.history[0], found.history[-1]
    assert first.recurrence <= allowed < first.recomputed
    assert found.reasons == ("converged",)
    assert last.recomputed <= allowed
    assert last.iteration > first.iteration
    assert float((found.x - inverse @ g).norm()) <= allowed / 0.05 + 1000 * EPS


def test_what_is_counted_is_what_was_done():
    matrix, basis, _ = singular(3)
    widths = []

    def product(vectors):
        widths.append(vectors.shape[1])
        return matrix @ vectors

    g = torch.cat([basis @ gaussian(1, 20, 2), basis[:, :1]], dim=1)
    found = conjugate_gradient(product, g, tolerance=1e-9, max_iterations=100)
    assert found.iterations[2] < found.iterations[0]
    assert sum(widths) == found.products == int(found.iterations.sum()) + len(found.history)
    assert [check.column for check in found.history].count(2) == 1
    alone = conjugate_gradient(product, g[:, 1:2], tolerance=1e-9, max_iterations=100)
    assert alone.iterations[0] == found.iterations[1]
    assert_within(alone.x[:, 0], found.x[:, 1], 1e4 * EPS * float(g.norm()) / 0.05)


@pytest.mark.parametrize("values", [[1.0, 0.5, -0.2], [-1.0, -1.0, -1.0]])
def test_negative_curvature_is_an_error(values):
    matrix = torch.diag(doubles(values))
    with pytest.raises(
        ArithmeticError, match="product must be positive semi-definite; a direction"
    ):
        solve(matrix, torch.ones(3, 1).double())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tolerance": 0.0}, ValueError, "tolerance must be finite and positive; got 0.0"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be at least 1; got 0"),
        ({"damping": -1.0}, ValueError, "damping must be finite and at least 0; got -1.0"),
        ({"damping": math.inf}, ValueError, "damping must be finite and at least 0; got inf"),
        (
            {"right_hand_side": doubles([[math.nan]])},
            ValueError,
            "right_hand_side must be finite",
        ),
        ({"product": lambda v: v * math.inf}, ValueError, "product must give finite numbers"),
        ({"product": lambda v: v.float()}, TypeError, "product must give float64"),
    ],
)
def test_bad_input_is_refused(arguments, error, message):
    options = {
        "product": lambda v: v,
        "right_hand_side": doubles([[1.0]]),
        "tolerance": 1e-8,
        "max_iterations": 5,
        **arguments,
    }
    with pytest.raises(error, match=message):
        conjugate_gradient(**options)
