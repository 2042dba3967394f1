"""Exact against textbook on every architecture, where the textbook is well conditioned."""

import warnings

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import igsref
from tests.assertions import assert_in_order
from tests.strategies import ARCHITECTURES, SEEDS, architecture

CUT = 1e-11


def textbook_is_settled(problem: igsref.Problem) -> bool:
    """No eigenvalue of F between noise and 10⁴ × the cut, so that cutting at it changes nothing."""
    values = torch.linalg.eigvalsh(igsref.fisher(problem))
    size = values / values[-1]
    return not bool(((size.abs() > CUT / 1e4) & (size < CUT * 1e4)).any())


@pytest.mark.parametrize("name", ARCHITECTURES)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, samples=st.integers(2, 8))
def test_exact_value_equals_the_textbook(name, seed, samples):
    model, x, y = architecture(name, seed, samples)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "model cannot be vmapped", RuntimeWarning)
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        problem = igsref.as_problem(model, (x, y))
        assume(textbook_is_settled(problem))
        result = igsref.exact_igs(problem)
        textbook = igsref.textbook_igs(problem, rcond=CUT)
    assert_in_order(result)
    # F's eigenvalues above 1e-7·λmax are known to u/1e-7 each; the sum of a few dozen of them
    # to 1e-8 with room for the projection of the gradients.
    assert result.value == pytest.approx(textbook, rel=1e-7)


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
@settings(max_examples=25, deadline=None)
def test_expected_igs_over_the_models_own_labels_is_the_rank(seed, samples):
    model, x, y = architecture("MLP with tanh", seed, samples)
    geometry = igsref.as_geometry(model, (x, y))
    # Each label's energy is a sum of squares of size ≤ 1 after weighting: N·C·r roundings.
    allowed = samples * 3 * max(1, geometry.space.dimension) * 2**-50
    assert abs(igsref.expected_igs(geometry) - geometry.space.dimension) <= allowed
