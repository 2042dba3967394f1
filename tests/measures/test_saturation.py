"""What a certificate of saturation says of the IGS: the ceiling, as exact_igs has it."""

import pytest
import torch

import igsref
from igsref.geometry.compressed import saturation_certificate
from igsref.measures.saturation import saturated_igs
from tests.measures.test_matrixfree import labelled, perceptron


def test_agrees_with_the_exact_measure():
    problem = igsref.as_problem(perceptron(0, 5, 16, 16, 3), labelled(0, 12, (5,), 3))
    exact = igsref.exact_igs(problem)
    certificate = saturation_certificate(problem)
    found = saturated_igs(problem, certificate, "because")
    assert exact.saturated
    assert certificate.grade == found.grade == "verified"
    # Both enclose one number, and as the ceiling is known to the accuracy of the logits: tightly.
    assert found.lower <= exact.upper
    assert exact.lower <= found.upper <= found.ceiling
    assert found.value == pytest.approx(exact.value, rel=1e-12)
    assert found.upper - found.lower < 1e-9 * found.value
    assert found.full_batch.value == pytest.approx(exact.full_batch.value, rel=1e-12)
    torch.testing.assert_close(found.per_sample, exact.per_sample)
    assert (found.rank, found.rank_lower, found.saturation) == (24, 24, 1.0)
    assert found.minibatch(3).value == pytest.approx(exact.minibatch(3).value, rel=1e-12)


def test_refuses_a_certificate_that_shows_less():
    problem = igsref.as_problem(perceptron(0, 2, 6, 3), labelled(0, 40, (2,), 3))
    with pytest.warns(RuntimeWarning, match="cannot be shown to have full row rank"):
        certificate = saturation_certificate(problem)
    with pytest.raises(ValueError, match=r"must show full row rank 80; it shows \d+"):
        saturated_igs(problem, certificate, "")
