"""F x = g: bounds beside the dense F⁺, and what is not in the range."""

import math

import jaxtyping
import pytest
import torch

import igsref
from igsref.curvature.loss import loss_gradient
from tests.closeness import EPS, assert_within
from tests.measures.test_matrixfree import labelled, perceptron
from tests.strategies import gaussian

WIDE = (perceptron(0, 4, 8, 8, 3), labelled(0, 6, (4,), 3))
SOFTMAX = (perceptron(0, 4, 3), labelled(1, 30, (4,), 3))
POOL = labelled(5, 2, (4,), 3)[0]


def rounding(matrix, solution):
    """What F x may be rounded by, for the mean over some dozens of rows."""
    return 1000 * EPS * float(matrix.norm()) * float(solution.x.norm())


@pytest.mark.parametrize("iterations", [1, 3, 10, 500])
@pytest.mark.parametrize("options", [{}, {"fisher_data": POOL}])
def test_the_gradient_s_bound_holds_and_falls_short_by_the_residual_s_energy(iterations, options):
    problem = igsref.as_problem(*WIDE, **options)
    found = igsref.fisher_solve(problem, tolerance=1e-9, max_iterations=iterations)
    exact = igsref.exact_igs(problem).full_batch
    assert 0 < float(found.lower) <= exact.upper * (1 + 1000 * EPS)
    # (x − F⁺g)ᵀF(x − F⁺g) = rᵀF⁺r ≤ ‖r‖²/λ, λ the smallest eigenvalue that is not 0.
    smallest = float(igsref.eigenvalues(problem)[problem.num_rows - 1])
    short = float(found.residual_norms) ** 2 / smallest
    assert exact.lower - float(found.lower) <= short + 1000 * EPS * exact.upper
    if iterations == 500:
        assert found.reasons == ("converged",)
        assert short < 1e-6 * exact.lower


@pytest.mark.parametrize("options", [{}, {"fisher_data": POOL}])
def test_the_first_step_is_along_the_gradient_of_the_loss(options):
    problem = igsref.as_problem(*WIDE, **options)
    x = igsref.fisher_solve(problem, max_iterations=1).x[:, 0]
    gradient = loss_gradient(problem)
    assert_within(x / x.norm(), gradient / gradient.norm(), 1000 * EPS)


def test_columns_of_one_s_own_are_solved_side_by_side():
    matrix = igsref.fisher(*WIDE)
    u, s, _ = torch.linalg.svd(matrix)
    basis = u[:, : WIDE[1][0].shape[0] * 2]
    g = basis @ gaussian(2, basis.shape[1], 3)
    found = igsref.fisher_solve(*WIDE, g, tolerance=1e-8, max_iterations=2000)
    assert found.reasons == ("converged",) * 3
    residuals = (g - matrix @ found.x).norm(dim=0)
    assert_within(found.residual_norms, residuals, rounding(matrix, found))
    inside = basis.mT @ g
    exact = (inside.square() / s[: len(inside), None]).sum(dim=0)
    short = residuals.square() / s[len(inside) - 1]
    # λ are known to roundings of ‖F‖, and so is the energy, to their share of the smallest.
    unknown = 1000 * EPS * float(s[0] / s[len(inside) - 1]) * exact
    assert bool((found.lower <= exact + unknown).all())
    assert bool((exact - found.lower <= short + unknown).all())


def test_damping_regularises():
    matrix, g = igsref.fisher(*WIDE), gaussian(3, 139, 2)
    found = igsref.fisher_solve(*WIDE, g.float(), damping=0.1, tolerance=1e-9)
    expected = torch.linalg.solve(matrix + 0.1 * torch.eye(139).double(), g.float().double())
    assert found.reasons == ("converged",) * 2
    assert_within(found.x, expected, 1e-9 * float(g.norm()) / 0.1)


def test_what_is_not_in_the_range_has_no_bound():
    g = gaussian(4, 15, 2)
    shifts = torch.zeros(15, 1).double()
    shifts[12:] = 1.0  # one number on all biases changes no softmax
    found = igsref.fisher_solve(*SOFTMAX, torch.cat([g, shifts], dim=1), tolerance=1e-9)
    assert found.reasons == ("not in range",) * 3
    assert found.lower.isnan().all()
    gradient = igsref.fisher_solve(*SOFTMAX, tolerance=1e-30)
    assert gradient.reasons == ("stagnated",)  # in the range, to rounding
    exact = igsref.exact_igs(*SOFTMAX).full_batch
    assert float(gradient.lower) == pytest.approx(exact.value, rel=1e4 * EPS)


def test_batches_change_rounding_alone(monkeypatch):
    model, (x, y) = WIDE
    first = igsref.fisher_solve(*WIDE, max_iterations=5)
    assert igsref.fisher_solve(*WIDE, max_iterations=5).x.equal(first.x)
    monkeypatch.setattr("igsref.curvature.batches._LARGEST_BATCH", 4)
    batches = [(x[:2], y[:2]), (x[2:], y[2:])]
    other = igsref.fisher_solve(model, batches, max_iterations=5)
    assert float(other.lower) == pytest.approx(float(first.lower), rel=1e5 * EPS)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"tolerance": 0.0}, ValueError, "tolerance must be finite and positive; got 0.0"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be at least 1; got 0"),
        ({"damping": -1.0}, ValueError, "damping must be finite and at least 0; got -1.0"),
        ({"memory": 0}, ValueError, "memory, in bytes, must be at least 1"),
        (
            {"right_hand_side": torch.ones(139)},
            ValueError,
            r"right_hand_side must have shape \(m, k\), here \(139, k\), k ≥ 1; got \(139,\)",
        ),
        ({"right_hand_side": torch.ones(139, 0)}, ValueError, r"k ≥ 1; got \(139, 0\)"),
        ({"right_hand_side": torch.ones(7, 1)}, ValueError, r"here \(139, k\).*got \(7, 1\)"),
        (
            {"right_hand_side": torch.full((139, 1), math.nan)},
            ValueError,
            "right_hand_side must be finite",
        ),
        ({"right_hand_side": torch.ones(139, 1).int()}, TypeError, "must hold floats; got a"),
        ({"right_hand_side": torch.ones(139, 1).to_sparse()}, TypeError, "dense tensor"),
        ({"right_hand_side": 1.0}, TypeError, "right_hand_side must be a torch.Tensor; got float"),
    ],
)
def test_bad_input_is_named(settings, error, message, monkeypatch):
    # Annotations would refuse first, in other words.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        igsref.fisher_solve(*WIDE, **settings)


def test_damping_hides_whether_a_column_is_in_the_range_and_no_bound_is_given():
    """Equal shifts of all logits change nothing: gᵀF⁺g = 0, and with δ every g converges."""
    null = torch.zeros(15, 1, dtype=torch.float64)
    null[12:] = 1.0  # the three biases
    found = igsref.fisher_solve(*SOFTMAX, null, damping=0.1)
    assert found.reasons == ("converged",)
    assert math.isnan(float(found.lower))
    own = igsref.fisher_solve(*SOFTMAX, damping=0.1)
    assert 0 < float(own.lower) <= igsref.exact_igs(*SOFTMAX).full_batch.upper
