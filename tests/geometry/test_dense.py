"""The dense route to the range."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.linalg.range import Subspace, WholeSpace
from tests.strategies import SEEDS, architecture, gaussian, mlp


def geometry(name: str, seed: int, samples: int) -> igsref.Geometry:
    model, x, y = architecture(name, seed, samples)
    return igsref.as_geometry(model, (x, y))


def test_wide_factor_of_full_rank_is_shown_to_be_saturated():
    found = geometry("MLP with tanh", 0, 4)
    assert found.saturated
    assert found.margin > 1e3
    assert isinstance(found.space, WholeSpace)


def test_tall_factor_is_a_proper_subspace():
    found = geometry("MLP with tanh", 0, 60)
    assert not found.saturated
    assert isinstance(found.space, Subspace)
    # Fact 6, tanh: rank ≤ m − d_{L−1} − 1.
    assert found.space.dimension == found.problem.num_parameters - 4 - 1


def test_duplicated_samples_are_not_saturated():
    model, x, y = architecture("MLP with tanh", 0, 4)
    found = igsref.as_geometry(model, (x.repeat(2, 1), y.repeat(2)))
    assert not found.saturated
    assert found.space.dimension == 4 * 2


@pytest.mark.parametrize("samples", [3, 60])
def test_leverages_add_up_to_the_rank(samples):
    found = geometry("MLP with relu", 1, samples)
    scores = found.leverage()
    assert scores.shape == (samples, 2)
    assert float(scores.sum()) == pytest.approx(found.space.dimension, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, samples=st.integers(1, 40))
def test_gradients_lie_in_the_range(seed, samples):
    model, x, y = architecture("MLP with leaky_relu", seed, samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        problem = igsref.as_problem(model, (x, y))
        found = igsref.as_geometry(problem)
    from igsref.curvature.factor import reduced_factor

    combination = reduced_factor(problem) @ gaussian(seed, problem.num_parameters)
    energy = float(found.energy(combination[:, None])[0])
    assert energy == pytest.approx(float(combination.square().sum()), rel=1e-9)


def test_a_network_that_learns_nothing_has_an_empty_range():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(-1.0)
    result = igsref.exact_igs(model, (torch.ones(3, 2), torch.tensor([0, 1, 0])))
    assert (result.value, result.rank) == (0.0, 0)


def test_key_bias_of_attention_makes_no_direction():
    """Its derivative is rounding; equilibrated, it would count as a parameter."""
    model, x, y = architecture("attention and embedding", 0, 40)
    whole = igsref.as_geometry(model, (x, y))
    m = whole.problem.num_parameters
    # softmax ignores the key bias (4); LayerNorm ignores a shift of what it normalises: the
    # value path's output bias (1), and its affine map meets the head in 4 + 1 directions.
    assert whole.space.dimension <= m - 4


def test_memory_is_asked_for_before_any_jacobian(monkeypatch):
    model, x, y = architecture("MLP with relu", 1, 5)
    monkeypatch.setattr("igsref.geometry.dense.differences", lambda problem: pytest.fail("ran"))
    with pytest.raises(MemoryError, match=r"reduced factor of 10 rows × \d+ parameters needs"):
        igsref.exact_igs(model, (x, y), memory=1000)


def test_wide_problem_with_a_noisy_direction_says_its_rank_is_unclear():
    model = mlp(3, [2, 8, 8, 3], nn.Tanh)
    x = gaussian(5, 1, 2) + 1e-7 * gaussian(6, 12, 2)
    found = igsref.as_geometry(model, (x, torch.arange(12) % 3))
    assert not found.clear_rank
