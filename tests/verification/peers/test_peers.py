"""Peers give IGS where all is well scaled, and leave the global state alone."""

import pytest
import torch

import igsref
from igsref.conformance import score
from tests.conformance import cases
from verification.peers.curvlinops_dense import curvlinops_dense
from verification.peers.nngeometry_low_rank import nngeometry_low_rank
from verification.peers.pseudo_inverse import pseudo_inverse_form, sample_gradients
from verification.peers.textbook import textbook32, textbook64


@pytest.mark.parametrize("peer", [curvlinops_dense, nngeometry_low_rank, textbook64])
def test_a_peer_is_right_on_a_well_scaled_network_that_is_saturated(peer):
    before = torch.get_default_dtype()
    found = {entry.name: entry for entry in score(peer, cases.small_vectors())}
    assert found["saturated"].verdict == "right"
    assert torch.get_default_dtype() == before


def test_the_textbook_knows_other_likelihoods_and_the_peers_do_not():
    vector = cases.gaussian_vector()
    data = vector.inputs, vector.labels
    (found,) = score(textbook64, [vector])
    assert found.value == igsref.textbook_igs(vector.model, data, likelihood="gaussian")
    for peer in (curvlinops_dense, nngeometry_low_rank):
        assert [entry.verdict for entry in score(peer, [vector])] == ["skipped"]


def test_float32_is_the_textbook_in_float32():
    vector = cases.small_vectors()[1]
    data = vector.inputs, vector.labels
    single, double = textbook32(vector.model, data), textbook64(vector.model, data)
    assert single != double
    assert single == pytest.approx(double, rel=0.05)


def test_gradients_are_those_of_every_sample_alone():
    vector = cases.small_vectors()[0]
    found = sample_gradients(vector.model, (vector.inputs, vector.labels))
    for row, x, y in zip(found, vector.inputs, vector.labels, strict=True):
        loss = torch.nn.functional.cross_entropy(vector.model(x[None]), y[None])
        own = torch.autograd.grad(loss, list(vector.model.parameters()))
        expected = torch.cat([part.flatten() for part in own])
        # The same products in another order: a few units of the largest.
        assert torch.allclose(
            row, expected, rtol=0, atol=64 * 2.0**-52 * float(expected.abs().max())
        )


def test_the_form_cuts_eigenvalues_of_rounding_and_keeps_the_others():
    g = torch.tensor([[1.0, 2.0, 3.0], [0.0, 2.0, 0.0]], dtype=torch.float64)
    cut = 3 * 2.0**-52 * 4.0
    eigenvalues = torch.tensor([cut, 2.0, 4.0], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    # Mean of 4/2 + 9/4 and 4/2.
    assert pseudo_inverse_form(g, eigenvalues, eye) == (4.25 + 2.0) / 2
    eigenvalues[0] = 2 * cut
    assert pseudo_inverse_form(g, eigenvalues, eye) == (1 / (2 * cut) + 4.25 + 2.0) / 2
