"""Why the factor is reduced: the textbook factor cancels for confident samples."""

import math

import pytest
import torch
from torch import Tensor, nn

import igsref
from igsref.curvature.factor import reduced_factor, textbook_factor
from igsref.linalg.equilibrate import power_of_two_scale

DOUBT = 2.5e-13
ROUNDING = 1e-12


def confident_network() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A linear model; the first sample, alone in its feature, has 1 − p_0 = 2.5e-13."""
    t = math.log((1 + math.exp(-1.0)) / DOUBT)
    model = nn.Sequential(nn.Linear(3, 3, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[t, 0.5, 0.1], [0.0, 1.0, 0.3], [-1.0, -0.7, 0.2]]))
    x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.8, 0.5], [0.0, -0.6, 0.9]]).double()
    return model, x, torch.tensor([0, 1, 2])


def leverages(factor: Tensor) -> Tensor:
    """Leverage scores of the rows by the SVD of the column-equilibrated factor."""
    scaled = factor * power_of_two_scale(factor.norm(dim=0))
    left, sigma, _ = torch.linalg.svd(scaled, full_matrices=False)
    return left[:, sigma > ROUNDING * sigma[0]].square().sum(dim=1)


def textbook_leverage_igs(problem: igsref.Problem) -> float:
    """Σ_i h_{i,y_i}/p_{i,y_i}, fact 1 of leverage scores, on the factor as the paper writes it."""
    h = leverages(textbook_factor(problem)).view_as(problem.logits)
    return float((h / problem.logits.softmax(dim=1) * problem.targets).sum())


def test_textbook_factor_exceeds_the_ceiling_by_one_for_a_confident_sample():
    model, x, y = confident_network()
    problem = igsref.as_problem(model, (x, y))
    doubt = -torch.expm1(-problem.likelihood.loss(problem.logits, problem.targets))
    assert float(doubt[0]) == pytest.approx(DOUBT, rel=1e-3)
    result = igsref.exact_igs(problem)
    # The row of the true class is rounding, and the equilibration makes a direction of it: its
    # leverage 1 counts with weight 1/p_y = 1, where (1 − p_y)/p_y = 2.5e-13 is the most there is.
    assert textbook_leverage_igs(problem) - result.ceiling == pytest.approx(1.0, abs=1e-6)
    assert result.value <= result.ceiling


def test_reduced_factor_keeps_the_confident_sample_below_its_ceiling():
    model, x, y = confident_network()
    problem = igsref.as_problem(model, (x, y))
    basis = torch.linalg.qr(reduced_factor(problem)).Q
    residuals = problem.residuals()
    energy = torch.einsum("nrk,nr->nk", basis.view(*residuals.shape, -1), residuals)
    ceiling = problem.likelihood.ceiling(problem.logits, problem.targets)
    assert float(energy.square().sum()) <= float(ceiling.sum()) * (1 + 1e-14 * len(basis))
