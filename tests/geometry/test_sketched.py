"""The sketched preconditioner: what it does to singular values, what it does not touch."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.factor import reduced_factor
from igsref.geometry import sketched
from igsref.geometry.plan import sketched_bytes
from igsref.geometry.sketched import sketched_preconditioner
from tests.closeness import EPS, assert_within
from tests.jacobian.test_rounding import ShiftBeforeSoftmax
from tests.measures.test_matrixfree import labelled, perceptron
from tests.peak_memory import measured, needs_proc
from tests.strategies import gaussian

PLENTY = 2**30


def tall(seed=0, samples=60):
    return igsref.as_problem(perceptron(seed, 3, 5, 3), labelled(seed, samples, (3,), 3))


def dense(right, size):
    return right.apply(torch.eye(size).double())


def test_singular_values_of_what_the_sketch_sees_are_near_one():
    problem = tall()
    m = problem.num_parameters
    right = sketched_preconditioner(problem, 0, PLENTY)
    assert right.height == 2 * m < problem.num_rows
    sigma = torch.linalg.svdvals(reduced_factor(problem) @ dense(right, m))
    rank = igsref.exact_igs(problem).rank_upper
    assert rank < m
    # A subspace of dimension r in 2m rows: singular values within 1 ± √(r/2m) in the mean, here
    # held to within a factor of ten of 1.
    assert float(sigma[0]) < 10
    assert float(sigma[rank - 1]) > 0.1
    # The others are rounding of rows over the cut, u/√u.
    assert float(sigma[rank]) < 64 * m * EPS**0.5
    assert right.above == pytest.approx(rank, abs=1.0)


def test_without_shrinking_a_t_is_orthonormal_but_for_the_cut():
    problem = tall(samples=20)  # 40 rows, m = 38
    m = problem.num_parameters
    right = sketched_preconditioner(problem, 0, PLENTY)
    assert right.height == problem.num_rows
    sigma = torch.linalg.svdvals(reduced_factor(problem) @ dense(right, m))
    rank = round(right.above)
    # σ/√(σ² + δ²), and R is known to m u of its norm.
    assert_within(sigma[: rank - 1], torch.ones(rank - 1).double(), 1e-4)
    assert float(sigma.max()) <= 1 + 64 * m * EPS


def test_apply_and_transposed_are_each_others_adjoint():
    problem = tall()
    m = problem.num_parameters
    right = sketched_preconditioner(problem, 3, PLENTY)
    x, y = gaussian(1, m, 1), gaussian(2, m, 1)
    forward, back = right.apply(x), right.transposed(y)
    # Triangular solves are backward stable row by row; forward errors are m u κ of their results.
    kappa = float(torch.linalg.cond(right.triangle))
    allowed = 4 * m * EPS * kappa * float(forward.norm() * y.norm() + x.norm() * back.norm())
    assert abs(float((forward * y).sum() - (x * back).sum())) <= allowed
    assert allowed < 1e-3 * float(forward.norm() * y.norm())


def test_the_seed_decides_where_rows_go():
    problem = tall()
    one, other = (sketched_preconditioner(problem, seed, PLENTY).triangle for seed in (1, 2))
    assert not torch.allclose(one, other, rtol=1e-3)


def test_blocks_of_samples_change_nothing_but_rounding(monkeypatch):
    problem = tall()
    whole = sketched_preconditioner(problem, 1, PLENTY)
    monkeypatch.setattr(sketched, "chunk_size", lambda _: 7)
    parts = sketched_preconditioner(problem, 1, PLENTY)
    assert torch.equal(whole.columns, parts.columns)
    m = problem.num_parameters
    gram = whole.triangle.mT @ whole.triangle
    rounding = 64 * m * EPS * float(gram.norm())
    assert_within(parts.triangle.mT @ parts.triangle, gram, rounding)


def test_columns_that_are_nothing_but_rounding_are_no_directions():
    model = ShiftBeforeSoftmax()
    problem = igsref.as_problem(model, labelled(2, 60, (3,), 3))
    right = sketched_preconditioner(problem, 0, PLENTY)
    first = [name for name, _ in problem.function.parameters.items()].index("shift")
    assert first == 0  # of one entry
    assert right.columns[0] == 0
    assert (right.columns[1:] > 0).all()


def test_a_factor_of_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3, bias=False)).double()
    model[0].bias.data.fill_(-100.0)
    problem = igsref.as_problem(model, labelled(0, 20, (3,), 3))
    with pytest.warns(RuntimeWarning, match="do not depend on the chosen parameters"):
        right = sketched_preconditioner(problem, 0, PLENTY)
    assert right.above == 0.0
    assert dense(right, problem.num_parameters).isfinite().all()


def test_what_does_not_fit_is_refused_before_any_derivative(monkeypatch):
    problem = tall()
    monkeypatch.setattr(sketched, "row_blocks", lambda *_: pytest.fail("ran"))
    with pytest.raises(MemoryError, match="a sketch of 76 rows × 38 parameters"):
        sketched_preconditioner(problem, 0, sketched_bytes(problem.num_parameters) - 1)


def test_its_text_says_where_it_is_cut():
    right = sketched_preconditioner(tall(), 0, PLENTY)
    assert "sketch of 76 rows, cut at 1.1e-08 of its norm: about" in str(right)
    assert "of 38 directions above" in str(right)


TALL = """
import igsref
from torch import nn
from igsref.geometry.sketched import sketched_preconditioner

def problem(samples, inputs, hidden):
    torch.manual_seed(0)
    layers = nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 3)
    data = torch.randn(samples, inputs).double(), torch.arange(samples) % 3
    return igsref.as_problem(nn.Sequential(*layers).double(), data)

tall = problem(2200, 36, 50)
"""


@pytest.mark.long
@needs_proc
def test_predicted_bytes_cover_the_measured_peak_and_not_much_more():
    rows, m, grown = measured(
        TALL,
        "sketched_preconditioner(problem(40, 3, 2), 0, 2**40)",
        "sketched_preconditioner(tall, 0, 2**40)",
        "tall.num_rows, tall.num_parameters",
    )
    assert rows > 2 * m
    assert grown >= 8 * 3 * m**2  # else the measurement has missed what goes into the QR
    assert grown <= sketched_bytes(m) <= 4 * grown + 300e6
