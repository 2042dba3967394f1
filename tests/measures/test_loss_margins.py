"""Margins in the loss, with the boundary log 2: equations (10) and (11) for two classes."""

import math

import mpmath
import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.factor import gradients
from igsref.measures.loss_margins import loss_margins
from igsref.measures.margins import margins
from igsref.transforms.symmetries import scale_nodes
from tests.assertions import FLOAT_AGREEMENT
from tests.closeness import EPS, assert_within
from tests.strategies import classes, gaussian, mlp


def narrow():
    """N(C−1) = 60 > m = 17: unsaturated."""
    return mlp(3, [2, 3, 2], nn.ReLU), (gaussian(4, 60, 2), classes(5, 60, 2))


def wide():
    """N(C−1) = 7 < m: saturated."""
    return mlp(0, [3, 8, 2], nn.Tanh), (gaussian(1, 7, 3), classes(2, 7, 2))


def at_gap(gap):
    """One sample of class 0 whose logits differ by the gap."""
    model = nn.Linear(1, 2, bias=False).double()
    model.load_state_dict({"weight": torch.tensor([[float(gap)], [0.0]], dtype=torch.float64)})
    return model, (torch.ones(1, 1), torch.tensor([0]))


@pytest.mark.parametrize("make", [narrow, wide])
def test_the_sum_over_eigenpairs_of_the_steps_in_the_loss_is_the_closed_form(make):
    problem = igsref.as_problem(*make())
    found = loss_margins(problem)
    rank = igsref.exact_igs(problem).rank
    spectrum = igsref.spectrum(problem, k=rank)
    loss = problem.likelihood.loss(problem.logits, problem.targets)
    slope = gradients(problem) @ spectrum.eigenvectors
    step = (math.log(2) - loss)[:, None] / slope  # l_i + ε g_i·u_k = log 2
    total = (1 / (step.square() * spectrum.eigenvalues)).sum(dim=1)
    values = spectrum.eigenvalues
    condition = float(values[0] / values[-1]) ** 0.5
    # The naive log 2 − l cancels by log 2/|log 2 − l|, twice; vectors are off by √κ eps.
    cancelled = 2 * math.log(2) / found.headrooms.abs()
    allowance = (problem.num_parameters * condition + cancelled) * EPS
    assert_within(total, found.sums, 4 * allowance * found.sums)


@pytest.mark.parametrize("make", [narrow, wide])
def test_squared_slopes_are_the_terms_of_the_igs(make):
    problem = igsref.as_problem(*make())
    terms = igsref.exact_igs(problem).per_sample
    assert_within(loss_margins(problem).squared_slopes, terms, 4 * EPS * terms)


@pytest.mark.parametrize("gap", [1e-12, -1e-9, 0.3, 4.5, 40.0, -40.0, 600.0, -600.0])
def test_the_headroom_keeps_its_digits_at_every_gap(gap):
    found = loss_margins(*at_gap(gap))
    with mpmath.workdps(400):
        exact = float(mpmath.log(2) - mpmath.log1p(mpmath.exp(-mpmath.mpf(gap))))
    # expm1, log1p and a halving: relative condition at most 2 for gaps of either sign.
    assert float(found.headrooms) == pytest.approx(exact, rel=8 * EPS, abs=0)
    assert bool(found.correct) == (gap > 0)
    assert float(found.distances) * gap > 0


def test_both_forms_agree_near_the_boundary_and_part_by_200_at_a_gap_of_4_5():
    near = at_gap(1e-6)
    # Σ is (2/gap)² (1 + O(gap)) in both.
    assert float(loss_margins(*near).sums) == pytest.approx(float(margins(*near).sums[0, 1]), 4e-6)
    far = at_gap(4.5)
    ratio = float(margins(*far).sums[0, 1]) / float(loss_margins(*far).sums)
    # (log 2 − l)²/((1−p)² gap²): p and l are functions of the gap.
    p = 1 / (1 + math.exp(-4.5))
    expected = (math.log(2 * p) / (4.5 * (1 - p))) ** 2
    assert ratio == pytest.approx(expected, rel=1e-12)
    assert 150 < ratio < 250


def test_saturated_margins_are_functions_of_the_loss():
    problem = igsref.as_problem(*wide())
    found = loss_margins(problem)
    loss = problem.likelihood.loss(problem.logits, problem.targets)
    assert_within(found.squared_slopes, 7 * torch.expm1(loss), 64 * EPS * found.ceilings)
    assert bool((found.saturation == 1).all())
    assert float(loss_margins(*narrow()).saturation.min()) < 0.5


@pytest.mark.parametrize("exponent", [1, 20])
def test_sums_and_distances_survive_node_scalings(exponent):
    model, data = narrow()
    before = loss_margins(model, data)
    after = loss_margins(scale_nodes(model, [2.0 ** torch.tensor([-exponent, 0, exponent])]), data)
    assert_within(after.sums, before.sums, FLOAT_AGREEMENT * before.sums)
    assert_within(after.distances, before.distances, FLOAT_AGREEMENT * before.distances.abs())


def test_more_than_two_classes_are_sent_to_the_other_form():
    data = (gaussian(1, 7, 3), classes(2, 7, 3))
    with pytest.raises(ValueError, match=r"needs two classes: with 3.*igsref\.margins"):
        loss_margins(mlp(0, [3, 4, 3], nn.Tanh), data)


def test_a_sample_with_a_loss_of_log_2_is_refused_by_name():
    model, _ = at_gap(1.0)
    with pytest.raises(ValueError, match="sample 1 lies on the boundary between its class 0 and"):
        loss_margins(model, (torch.tensor([[1.0], [0.0]]), torch.tensor([0, 0])))


def test_a_switch_gives_the_same_as_two_classes():
    model, data = at_gap(1.5)
    switch = nn.Linear(1, 1, bias=False).double()
    switch.load_state_dict({"weight": torch.tensor([[1.5]], dtype=torch.float64)})
    labels = torch.ones(1, 1)
    other = loss_margins(switch, (data[0], labels), likelihood="bernoulli")
    found = loss_margins(model, data)
    assert float(other.headrooms) == float(found.headrooms)
    assert float(other.sums) == pytest.approx(float(found.sums), rel=64 * EPS)
