"""Both preconditioners against dense matrices."""

import pytest
import torch
from torch import nn

from igsref import as_problem
from igsref.curvature.factor import reduced_factor
from igsref.curvature.kfac import ekfac
from igsref.geometry.preconditioner import (
    DAMPING,
    EkfacPreconditioner,
    NoPreconditioner,
    _inverse,
    ekfac_preconditioner,
    sample_weights,
)
from tests.closeness import EPS, assert_within
from tests.strategies import architecture, classes, gaussian, mlp


def small(**options):
    data = gaussian(1, 5, 3), classes(2, 5, 3)
    return as_problem(mlp(0, [3, 4, 3], nn.Tanh), data, **options)


def normalised():
    model, x, y = architecture("batch norm", 3, 5)
    return as_problem(model, (x, y))


def rooted(problem, damping=DAMPING):
    return EkfacPreconditioner(ekfac(problem), damping)


def dense_root(right, size):
    return right.apply(torch.eye(size).double())


@pytest.mark.parametrize("damping", [1e-7, 1e-3, 1.0])
@pytest.mark.parametrize("problem", [small, normalised])
def test_the_root_is_symmetric_and_positive_and_its_square_the_damped_inverse(problem, damping):
    problem = problem()
    m, right = problem.num_parameters, rooted(problem, damping)
    t = dense_root(right, m)
    norm = float(torch.linalg.matrix_norm(t, 2))
    # Products with orthogonal matrices m wide, three on each side.
    rounding = 8 * m * EPS * norm
    assert_within(t, t.mT, rounding)
    damped = right.ekfac.power(torch.eye(m).double(), 1.0, damping)
    values = torch.linalg.eigvalsh((damped + damped.mT) / 2)
    assert float(torch.linalg.eigvalsh((t + t.mT) / 2).min()) > 0
    # F + λI is known to some m eps of its size, and an inverse to κ times that.
    condition = float(values.max() / values.min())
    assert condition * m * EPS < 1e-4
    inverse = torch.linalg.inv(damped)
    assert_within(t @ t, inverse, 16 * m * EPS * condition * float(inverse.abs().max()))
    x = gaussian(4, m, 2)
    assert_within(right.apply(x), t @ x, rounding * x.abs().sum(dim=0).expand(m, 2))


def test_each_block_is_damped_by_its_own_largest_scaling():
    problem = small()
    right, m = rooted(problem), problem.num_parameters
    values = torch.linalg.eigvalsh(dense_root(right, m))
    expected = torch.cat(
        [
            (block.scalings + DAMPING * block.scalings.max()).rsqrt().flatten()
            for block in right.ekfac.blocks
        ]
    )
    largest = [float(block.scalings.max()) for block in right.ekfac.blocks]
    assert max(largest) > 1.5 * min(largest)
    assert_within(values, expected.sort().values, 8 * m * EPS * float(expected.max()))


def test_ekfac_of_a_large_pool_is_that_of_some_inputs(monkeypatch):
    monkeypatch.setattr("igsref.geometry.preconditioner.EKFAC_INPUTS", 3)
    problem = small()
    made = [ekfac_preconditioner(problem, seed, 2**30, torch.float64) for seed in (0, 0, 1)]
    x = gaussian(4, problem.num_parameters, 2)
    assert torch.equal(made[0].apply(x), made[1].apply(x))
    assert not torch.equal(made[0].apply(x), made[2].apply(x))
    assert str(made[0]).startswith("EKFAC of 3 inputs, damped by 1e-07")
    monkeypatch.setattr("igsref.geometry.preconditioner.EKFAC_INPUTS", 5)  # as many as there are
    whole = ekfac_preconditioner(problem, 0, 2**30, torch.float64)
    assert torch.equal(whole.apply(x), rooted(problem).apply(x))
    assert str(whole) == str(rooted(problem))


def test_without_ekfac_the_root_is_the_identity():
    x = gaussian(0, 6, 2)
    assert torch.equal(NoPreconditioner().apply(x), x)


@pytest.mark.parametrize("name", ["categorical", "bernoulli", "gaussian", "pool", "no root"])
def test_weights_are_pseudo_inverses_of_each_samples_own_block(name, monkeypatch):
    labels = {"bernoulli": classes(2, 10, 2).view(5, 2), "gaussian": gaussian(2, 5, 2)}
    if name in labels:
        model = mlp(0, [3, 4, 2], nn.Tanh)
        problem = as_problem(model, (gaussian(1, 5, 3), labels[name]), likelihood=name)
    else:
        problem = small(fisher_data=gaussian(3, 4, 3)) if name == "pool" else small()
    right = NoPreconditioner() if name == "no root" else rooted(problem, 1e-3)
    height, m = problem.rows_per_sample, problem.num_parameters
    monkeypatch.setattr("igsref.geometry.preconditioner.chunk_size", lambda _: 2)
    weights = sample_weights(problem, right)
    assert weights.shape == (problem.pool_size, height, height)
    rows = (reduced_factor(problem) @ dense_root(right, m)).view(-1, height, m)
    for sample, block in enumerate(rows @ rows.mT):
        expected = torch.linalg.pinv(block, hermitian=True)
        # Rows are known to 64 eps of their largest entry (tests.closeness), here through T.
        condition = float(torch.linalg.cond(block))
        error = 2 * 64 * m * EPS * condition * float(expected.abs().max())
        assert error < 1e-4 * float(expected.abs().max())
        assert_within(weights[sample], expected, error)
    assert torch.equal(weights, weights.mT)


def test_rows_that_are_zero_have_no_weight():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(gaussian(0, 4, 3).abs())
        model[0].bias.zero_()
        model[2].weight.copy_(gaussian(1, 3, 4))
    x = gaussian(2, 4, 3).abs()
    x[[1, 3]] *= -1  # no unit is awake on these two
    problem = as_problem(model, (x, classes(3, 4, 3)))
    weights = sample_weights(problem, rooted(problem))
    assert torch.equal(weights[[1, 3]], torch.zeros(2, 2, 2).double())
    assert weights.isfinite().all()
    assert float(weights[[0, 2]].diagonal(dim1=1, dim2=2).min()) > 0


def test_rows_in_one_direction_have_the_weight_of_a_generalised_inverse():
    grams = torch.tensor([[[4.0, 2.0], [2.0, 1.0]], [[1e-300, 0.0], [0.0, 0.0]]]).double()
    grams[1, 0, 0] = 1e-300  # float32 has it not
    found = _inverse(grams)
    # Eigenvectors are good to a few eps.
    assert_within(grams[0] @ found[0] @ grams[0], grams[0], 16 * EPS * 4)
    assert_within(found[0] @ grams[0] @ found[0], found[0], 16 * EPS)
    assert_within(found[1] * 1e-300, torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double(), 16 * EPS)


def test_rows_of_very_different_lengths_all_have_weight():
    lengths = torch.tensor([1.0, 1e-9, 1e-150], dtype=torch.float64)
    correlations = torch.tensor([[2.0, 1, 0], [1, 2, 1], [0, 1, 2]], dtype=torch.float64)
    gram = lengths[:, None] * correlations * lengths
    (found,) = _inverse(gram[None])
    identity = torch.eye(3).double() * 4  # of a matrix with condition 6, in units of the rows
    assert_within(4 * (gram @ found) / lengths[:, None] * lengths, identity, 64 * EPS)


@pytest.mark.parametrize(("small", "kept"), [(1e-11, True), (1e-13, False)])
def test_directions_below_a_share_of_the_largest_have_no_weight(small, kept):
    # Two unit rows in nearly one direction: eigenvalues 2 and twice the small one.
    gram = torch.tensor([[[1.0, 1 - 2 * small], [1 - 2 * small, 1.0]]], dtype=torch.float64)
    largest = float(torch.linalg.eigvalsh(_inverse(gram))[0, 1])
    # The smaller eigenvalue is what a difference of numbers near 1 leaves of it.
    rounding = 8 * EPS / small
    assert largest == (pytest.approx(1 / (2 * small), rel=rounding) if kept else pytest.approx(0.5))
