"""Why the factor is reduced: the textbook factor cancels for confident samples."""

import math

import pytest
import torch
from torch import Tensor, nn

import igsref
from igsref.curvature.factor import reduced_factor, textbook_factor
from igsref.linalg.equilibrate import power_of_two_scale
from verification.oracle import Truth, to_float, truth

DOUBT = 2.5e-13
ROUNDING = 1e-12
UNIT = 2.0**-53
SAMPLES = [3, 6]
"""Three rest on three features: saturated. Six are more rows than their features can tell apart."""


def confident_network(samples: int) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A linear model; the first sample, alone in its feature, has 1 − p_0 = 2.5e-13."""
    t = math.log((1 + math.exp(-1.0)) / DOUBT)
    model = nn.Sequential(nn.Linear(3, 3, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[t, 0.5, 0.1], [0.0, 1.0, 0.3], [-1.0, -0.7, 0.2]]))
    rest = [[0.8, 0.5], [-0.6, 0.9], [0.3, -0.4], [-0.2, -0.7], [1.1, 0.1]]
    x = torch.tensor([[1.0, 0.0, 0.0], *([0.0, *row] for row in rest)]).double()
    return model, x[:samples], torch.tensor([0, 1, 2, 0, 1, 1])[:samples]


def oracle(model: nn.Sequential, x: Tensor, y: Tensor) -> Truth:
    return truth([(model[0].weight.tolist(), None)], "relu", x.tolist(), y.tolist())


def leverage_igs(factor: Tensor, residuals: Tensor) -> tuple[float, float]:
    """(Σ_i ‖P v_i‖², κ): P from the SVD of the column-equilibrated factor, κ of what is kept."""
    scaled = factor * power_of_two_scale(factor.norm(dim=0))
    left, sigma, _ = torch.linalg.svd(scaled, full_matrices=False)
    kept = sigma > ROUNDING * sigma[0]
    basis = left[:, kept].view(*residuals.shape, -1)
    energy = torch.einsum("nrk,nr->nk", basis, residuals).square().sum()
    return float(energy), float(sigma[0] / sigma[kept][-1])


def of_the_textbook_factor(problem: igsref.Problem) -> float:
    """g_i = v_iᵀ A_i on the factor as the paper writes it, for v_i = −e_y/√p_y."""
    residuals = -problem.targets / problem.logits.softmax(dim=1).sqrt()
    return leverage_igs(textbook_factor(problem), residuals)[0]


@pytest.mark.parametrize("samples", SAMPLES)
def test_textbook_factor_is_off_by_one_for_a_confident_sample(samples):
    model, x, y = confident_network(samples)
    problem = igsref.as_problem(model, (x, y))
    doubt = -torch.expm1(-problem.likelihood.loss(problem.logits, problem.targets))
    assert float(doubt[0]) == pytest.approx(DOUBT, rel=1e-3)
    exact = oracle(model, x, y)
    # The row of the true class is rounding, and the equilibration makes a direction of it: its
    # leverage 1 counts with weight 1/p_y = 1, where (1 − p_y)/p_y = 2.5e-13 is the most there is.
    textbook = of_the_textbook_factor(problem)
    assert textbook - to_float(exact.value) == pytest.approx(1.0, abs=1e-6)
    if samples == 3:
        assert textbook - to_float(exact.ceiling) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("samples", SAMPLES)
def test_reduced_factor_gives_the_true_value_on_the_same_way(samples):
    model, x, y = confident_network(samples)
    problem = igsref.as_problem(model, (x, y))
    exact = oracle(model, x, y)
    value, condition = leverage_igs(reduced_factor(problem), problem.residuals())
    ceiling = to_float(exact.ceiling)
    # Entries of the factor are right to |logit|·u, and P moves by κ times that: 30 is the largest
    # logit, 8 for the steps in between.
    allowed = 8 * 30 * UNIT * condition * ceiling
    assert allowed < 1e-6
    assert abs(value - to_float(exact.value)) <= allowed
    assert value <= ceiling + allowed
    assert (to_float(exact.value) < 0.99 * ceiling) == (samples > 3)


@pytest.mark.parametrize("samples", SAMPLES)
def test_exact_igs_of_the_confident_network_is_the_truth(samples):
    model, x, y = confident_network(samples)
    result, exact = igsref.exact_igs(model, (x, y)), oracle(model, x, y)
    assert result.value == pytest.approx(to_float(exact.value), rel=1e-9)
    assert float(result.full_batch) == pytest.approx(to_float(exact.full_batch), rel=1e-9)
    assert result.rank == exact.rank
    assert result.value <= result.ceiling
