"""Gradients in the Fisher metric of other data."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.factor import gradients
from igsref.geometry.metric import fisher_energy
from tests.closeness import EPS, assert_within
from tests.strategies import architecture, gaussian, mlp


def logistic(seed: int, x: torch.Tensor) -> igsref.Problem:
    model = mlp(seed, [x.shape[1], 1], nn.Tanh)
    return igsref.as_problem(model, (x, torch.ones(len(x), 1)), likelihood="bernoulli")


@pytest.mark.parametrize("seed", range(5))
def test_energy_in_a_regular_metric_is_that_of_its_inverse(seed):
    problem, g = logistic(seed, gaussian(seed, 40, 3)), gaussian(seed + 1, 6, 4)
    F = igsref.fisher(problem)
    found = fisher_energy(problem, g)
    brute = (g @ torch.linalg.inv(F) * g).sum(dim=1)
    # An inverse is known to m·eps·κ relative to its norm.
    room = 8 * EPS * torch.linalg.cond(F) * g.square().sum(dim=1) / torch.linalg.eigvalsh(F)[0]
    assert_within(found.inside, brute, room)
    assert found.rank == 4
    assert not found.leaves
    assert found.share_outside <= (4 * EPS) ** 2


@pytest.mark.parametrize("samples", [3, 8, 40])
def test_gradients_of_its_own_data_do_not_leave(samples):
    problem = igsref.as_problem(*_network(samples))
    found = fisher_energy(problem, gradients(problem))
    assert not found.leaves
    result = igsref.exact_igs(problem)
    room = found.rounding_error + result.rounding_error
    assert abs(float(found.inside.mean()) - result.value) <= room


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-9])
def test_a_part_outside_is_seen_however_small(size):
    problem = igsref.as_problem(*_network(5))
    g = gradients(problem)
    right = torch.linalg.svd(igsref.curvature.factor.reduced_factor(problem)).Vh[-1]
    found = fisher_energy(problem, g + size * right)
    assert found.leaves
    added = size**2 * len(g)
    # Squares of numbers that are known to eps of ‖g‖, beside ones of size.
    error = 100 * EPS * float(g.norm()) / size
    assert float(found.outside.sum()) == pytest.approx(added, rel=error + 1e-12)


def test_energy_moves_no_more_than_the_stated_rounding():
    """A factor moved by its rounding, in ten directions, against a first-order bound on that."""
    x = gaussian(0, 12, 3) * torch.tensor([1.0, 1.0, 1e-6])
    problem, g = logistic(0, x), gaussian(1, 4, 4)
    found = fisher_energy(problem, g)
    for seed in range(10):
        signs = gaussian(seed, 12, 3).sign()
        moved = fisher_energy(logistic(0, x * (1 + 2.0**-53 * signs)), g)
        change = abs(float(moved.inside.mean() - found.inside.mean()))
        assert change <= found.rounding_error
    assert found.rounding_error <= 1e-6 * float(found.inside.mean())


def test_a_direction_within_rounding_is_counted_as_doubt():
    """Singular values 1 and 4u: below the cut, within the band."""
    x = torch.tensor([[1.0, 0.0, 0.0], [1.0, 2.0**-50.5, 0.0], [1.0, 0.0, 0.0]]).double()
    model = nn.Linear(3, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    problem = igsref.as_problem(model, (x, torch.ones(3, 1)), likelihood="bernoulli")
    found = fisher_energy(problem, torch.tensor([[1.0, 1.0, 0.0]]).double())
    assert found.rank == 1
    assert found.rounding_error > 1e20 * float(found.inside[0])


def test_no_gradient_is_no_share():
    problem = igsref.as_problem(*_network(5))
    found = fisher_energy(problem, torch.zeros(2, problem.num_parameters).double())
    assert (found.share_outside, found.leaves) == (0.0, False)
    assert found.inside.tolist() == [0.0, 0.0]


def _network(samples: int):
    model, x, y = architecture("MLP with tanh", 0, samples)
    return model, (x, y)
