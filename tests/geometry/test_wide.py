"""Wide and tall factors: saturation, ranks, noise, what is refused."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.linalg.range import Subspace, WholeSpace
from igsref.transforms.symmetries import scale_layers
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
    with pytest.warns(RuntimeWarning, match="every derivative is 0"):
        result = igsref.exact_igs(model, (torch.ones(3, 2), torch.tensor([0, 1, 0])))
    assert (result.value, result.rank, result.margin) == (0.0, 0, 0.0)


class Normalised(nn.Module):
    """x/‖x‖, whose derivative at 0 is no number."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 3, bias=False).double()

    def forward(self, x):
        z = self.inner(x)
        return z / (z.square().sum(dim=1, keepdim=True).sqrt() + 1e-12)


def test_derivatives_that_are_no_numbers_are_refused_with_their_place():
    x = torch.tensor([[1.0, 2.0], [0.0, 0.0]]).double()
    with pytest.raises(ValueError, match=r"those of sample 1 by inner\.weight\[0\]"):
        igsref.exact_igs(Normalised(), (x, torch.tensor([0, 1])))


@pytest.mark.parametrize("exponent", [300, 600, 900])
def test_columns_whose_squares_overflow_are_equilibrated(exponent):
    model = mlp(0, [2, 4, 3], nn.ReLU)
    data = (gaussian(1, 12, 2), torch.arange(12) % 3)
    scaled = scale_layers(model, [2.0**exponent])
    assert igsref.exact_igs(scaled, data).value == igsref.exact_igs(model, data).value


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
    monkeypatch.setattr("igsref.geometry.wide.jacobian_rows", lambda *_, **__: pytest.fail("ran"))
    with pytest.raises(MemoryError, match=r"reduced factor of 10 rows × \d+ parameters needs"):
        igsref.exact_igs(model, (x, y), memory=1000)


def test_wide_problem_with_a_noisy_direction_says_its_rank_is_unclear():
    model = mlp(3, [2, 8, 8, 3], nn.Tanh)
    x = gaussian(5, 1, 2) + 1e-7 * gaussian(6, 12, 2)
    found = igsref.as_geometry(model, (x, torch.arange(12) % 3))
    assert not found.clear_rank
