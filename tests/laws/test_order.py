"""0 ≤ G ≤ IGS_b ≤ IGS ≤ ceiling, before anything is clamped, and not by being 0 or the ceiling."""

import warnings

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import igsref
from igsref.curvature.factor import reduced_factor
from tests.strategies import relu_networks

UNIT = 2.0**-53
TINY = 2.0**-1022
NOISE, CLEAR = 1e-13, 1e-6


@pytest.fixture(autouse=True)
def _no_accuracy_warnings():
    """Order holds for badly known values too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        yield


def test_many_of_the_drawn_networks_are_not_saturated():
    """What the laws over drawn networks rest on: a saturated one shows nothing but its losses."""
    saturated = []

    @settings(max_examples=60, deadline=None, database=None)
    @given(network=relu_networks())
    def draw(network):
        model, x, y = network
        saturated.append(igsref.exact_igs(model, (x, y)).saturated)

    draw()
    assert 0.1 <= sum(saturated) / len(saturated) <= 0.6, f"{sum(saturated)} of {len(saturated)}"


@settings(max_examples=15, deadline=None)
@given(network=relu_networks())
def test_energies_stay_below_the_ceiling_without_a_clamp(network):
    model, x, y = network
    geometry = igsref.as_geometry(model, (x, y))
    problem = geometry.problem
    energy = geometry.sample_energy(problem.residuals())
    ceiling = problem.likelihood.ceiling(problem.logits, problem.targets)
    assert bool((energy >= 0).all())
    assert bool((energy <= ceiling * (1 + 1e-12) + TINY).all())


@settings(max_examples=12, deadline=None)
@given(network=relu_networks(), data=st.data())
def test_full_batch_minibatch_and_value_come_in_order(network, data):
    model, x, y = network
    result = igsref.exact_igs(model, (x, y))
    most = result.value * (1 + 1e-12)
    assert 0 <= float(result.full_batch) <= most
    batch = result.minibatch(
        data.draw(st.integers(1, len(x))), replacement=data.draw(st.booleans())
    )
    assert float(result.full_batch) * (1 - 1e-12) <= float(batch) <= most
    assert batch.lower <= batch.value <= batch.upper


def projected_energy(problem: igsref.Problem) -> tuple[torch.Tensor, float] | None:
    """‖P v_i‖² by the SVD of the factor with unit columns, κ; None where its rank is not clear."""
    factor = reduced_factor(problem)
    norms = factor.norm(dim=0)
    # A derivative that is rounding would be blown up to a column like the others.
    if bool(((norms > 0) & (norms < CLEAR * norms.max())).any()):
        return None
    left, sigma, _ = torch.linalg.svd(factor / norms.where(norms > 0, 1.0), full_matrices=False)
    size = sigma / sigma[0].clamp_min(TINY)
    if bool(((size > NOISE) & (size < CLEAR)).any()):
        return None
    kept = size > CLEAR
    residuals = problem.residuals()
    basis = left[:, kept].reshape(*residuals.shape, -1)
    energy = torch.einsum("nrk,nr->nk", basis, residuals).square().sum(dim=1)
    return energy, float(1 / size[kept].min()) if bool(kept.any()) else 1.0


@settings(max_examples=15, deadline=None)
@given(network=relu_networks())
def test_energies_of_unsaturated_networks_are_those_of_a_dense_projection(network):
    model, x, y = network
    geometry = igsref.as_geometry(model, (x, y))
    problem = geometry.problem
    assume(not geometry.saturated)
    projected = projected_energy(problem)
    assume(projected is not None)
    expected, condition = projected
    energy = geometry.sample_energy(problem.residuals())
    result = igsref.exact_igs(geometry)
    size = problem.residuals().square().sum(dim=1)
    # P moves by κ times the rounding of the factor, about n units of it; ‖P v‖² by twice that.
    allowed = 20 * condition * problem.num_rows * UNIT * size
    assert bool(((energy - expected).abs() <= allowed).all())
    assert result.value == pytest.approx(float(expected.sum()), abs=float(allowed.sum()))
    assert (result.value > 0) == (result.rank > 0)
