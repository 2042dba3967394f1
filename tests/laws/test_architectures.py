"""Exact against the definition on every architecture, where forming F is well conditioned."""

import warnings
from fnmatch import fnmatch

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from tests.assertions import assert_in_order
from tests.jacobian.naive import naive_jacobian
from tests.strategies import ARCHITECTURES, SEEDS, architecture

CUT = 1e-11
LAYER = {
    "convolution": "0.*",
    "batch norm": "0.*",
    "layer norm": "1.*",
    "residual, module used twice": "branch.0.*",
    "tied weights": "encoder.*",
    "attention and embedding": "embedding.*",
    "LSTM": "cell.weight_ih_l0",
    "GRU": "cell.weight_ih_l0",
    "refused by vmap": "layers.0.*",
    "MLP with relu": "0.*",
    "MLP with leaky_relu": "0.*",
    "MLP with tanh": "0.*",
    "MLP with gelu": "0.*",
}
"""A layer that every other one is behind or before, small and well conditioned."""


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "model cannot be vmapped", RuntimeWarning)
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        yield


def chosen_columns(model: nn.Module, pattern: str) -> torch.Tensor:
    """Which entries of θ belong to parameters whose name matches."""
    return torch.cat(
        [
            torch.full((parameter.numel(),), fnmatch(name, pattern))
            for name, parameter in model.named_parameters()
        ]
    )


def naive_igs(model: nn.Module, x: torch.Tensor, y: torch.Tensor, pattern: str) -> float | None:
    """Equations (2) and (6) from one backward pass per logit; nothing of the library in it.

    None where F has an eigenvalue between noise and 10⁴ × the cut, so that cutting matters.
    """
    jacobian = naive_jacobian(model, x)[:, chosen_columns(model, pattern)]
    jacobian = jacobian.view(len(x), -1, jacobian.shape[1])
    p = model(x).detach().softmax(dim=1)
    metric = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    fisher = (jacobian.mT @ metric @ jacobian).mean(dim=0)
    gradients = torch.einsum("nc,ncm->nm", p - nn.functional.one_hot(y, p.shape[1]), jacobian)
    values, vectors = torch.linalg.eigh(fisher)
    size = values / values[-1]
    if bool(((size.abs() > CUT / 1e4) & (size < CUT * 1e4)).any()):
        return None
    kept = size > CUT
    return float(((gradients @ vectors[:, kept]).square() / values[kept]).sum(dim=1).mean())


def assert_equals_the_definition(model, x, y, pattern: str) -> igsref.Result:
    expected = naive_igs(model, x, y, pattern)
    assume(expected is not None)
    problem = igsref.as_problem(model, (x, y), parameters=pattern)
    result = igsref.exact_igs(problem)
    assert_in_order(result)
    # F's eigenvalues above 1e-7·λmax are known to u/1e-7 each; the sum of a few dozen of them
    # to 1e-8 with room for the projection of the gradients.
    assert result.value == pytest.approx(expected, rel=1e-7)
    assert igsref.textbook_igs(problem, rcond=CUT) == pytest.approx(expected, rel=1e-7)
    return result


@pytest.mark.parametrize("name", ARCHITECTURES)
@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, samples=st.integers(2, 8))
def test_value_of_a_few_samples_equals_the_definition(name, seed, samples):
    assert_equals_the_definition(*architecture(name, seed, samples), "*")


@pytest.mark.parametrize("name", ARCHITECTURES)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, more=st.integers(1, 8))
def test_value_of_one_layer_on_more_rows_than_parameters_equals_the_definition(name, seed, more):
    model, _, _ = architecture(name, seed, 2)
    count = int(chosen_columns(model, LAYER[name]).sum())
    result = assert_equals_the_definition(*architecture(name, seed, count // 2 + more), LAYER[name])
    assert result.num_parameters == count
    assert result.rank <= count < result.num_rows
    assert not result.saturated


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["MLP with relu", "convolution", "attention and embedding"])
def test_lower_precision_models_are_measured_in_float64(name, dtype):
    model, x, y = architecture(name, 3, 6)
    rounded = model.to(dtype)
    inputs = x.to(dtype) if x.is_floating_point() else x
    result = igsref.exact_igs(rounded, (inputs, y))
    upcast = inputs.double() if x.is_floating_point() else x
    assert result == igsref.exact_igs(rounded.double(), (upcast, y))


@given(seed=SEEDS, samples=st.integers(1, 40))
@settings(max_examples=12, deadline=None)
def test_expected_igs_over_the_models_own_labels_is_the_rank(seed, samples):
    model, x, y = architecture("MLP with tanh", seed, samples)
    geometry = igsref.as_geometry(model, (x, y))
    # Each label's energy is a sum of squares of size ≤ 1 after weighting: N·C·r roundings.
    allowed = samples * 3 * max(1, geometry.space.dimension) * 2**-50
    assert abs(igsref.expected_igs(geometry) - geometry.space.dimension) <= allowed
