"""Appendix B: gradients lie in the span of F's eigenvectors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import igsref
from tests.strategies import SEEDS, architecture


@settings(max_examples=25)
@given(seed=SEEDS, samples=st.integers(1, 25))
def test_no_part_of_a_gradient_is_outside_the_span(seed, samples):
    model, x, y = architecture("MLP with relu", seed, samples)
    problem = igsref.as_problem(model, (x, y))
    outside = igsref.span_residual(problem)
    # Directions below √n·ε of the largest are cut, and projecting rounds m terms.
    allowed = 2**-50 * problem.num_rows**0.5 * problem.num_parameters
    assert float(outside.max()) <= allowed


def test_a_gradient_of_another_network_is_outside(monkeypatch):
    model, x, y = architecture("MLP with relu", 0, 3)
    other, _, _ = architecture("MLP with relu", 1, 3)
    foreign = igsref.as_problem(other, (x, y))
    gradients = igsref.measures.span.gradients
    monkeypatch.setattr("igsref.measures.span.gradients", lambda _: gradients(foreign))
    assert float(igsref.span_residual(model, (x, y)).min()) > 0.1


def test_memory_is_asked_for():
    model, x, y = architecture("MLP with relu", 0, 3)
    with pytest.raises(MemoryError, match="reduced factor"):
        igsref.span_residual(model, (x, y), memory=100)
