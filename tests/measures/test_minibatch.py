"""IGS_b: closed forms against enumeration, and sampling."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import igsref
from igsref.enclosure import Enclosure
from igsref.measures.minibatch import minibatch_igs
from tests.strategies import architecture


@pytest.fixture(scope="module")
def geometry() -> igsref.Geometry:
    model, x, y = architecture("MLP with tanh", 0, 6)
    return igsref.as_geometry(model, (x.repeat(1, 1), y))


def known(value: float) -> Enclosure:
    return Enclosure(value, value, value, "verified")


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6])
@pytest.mark.parametrize("replacement", [False, True])
def test_closed_form_is_the_mean_over_all_batches(geometry, batch_size, replacement):
    if replacement:
        batches = itertools.product(range(6), repeat=min(batch_size, 3))
        batch_size = min(batch_size, 3)
    else:
        batches = itertools.combinations(range(6), batch_size)
    mean = igsref.monte_carlo_minibatch_igs(geometry, batches=batches)
    closed = igsref.exact_igs(geometry).minibatch(batch_size, replacement=replacement)
    assert mean.value == pytest.approx(float(closed), rel=1e-12)
    assert closed.lower <= closed.value <= closed.upper


@given(
    igs=st.floats(0, 1e3),
    share=st.floats(0, 1),
    n=st.integers(1, 50),
    replacement=st.booleans(),
    data=st.data(),
)
def test_closed_form_lies_between_full_batch_and_igs(igs, share, n, replacement, data):
    b = data.draw(st.integers(1, n))
    value = float(minibatch_igs(known(igs), known(share * igs), n, b, replacement=replacement))
    assert share * igs * (1 - 1e-14) <= value <= igs * (1 + 1e-14)


def test_one_sample_without_replacement_is_the_igs():
    assert minibatch_igs(known(5.0), known(5.0), 1, 1, replacement=False) == known(5.0)


def test_own_distribution_of_batches_is_averaged_with_its_error(geometry):
    generator = torch.Generator().manual_seed(0)
    batches = (torch.randperm(6, generator=generator)[:2] for _ in range(1500))
    sampled = igsref.monte_carlo_minibatch_igs(geometry, batches=batches)
    closed = float(igsref.exact_igs(geometry).minibatch(2))
    assert sampled.count == 1500
    # Five standard errors: a false alarm once in two million seeds, and the seed is fixed.
    assert abs(float(sampled) - closed) < 5 * sampled.standard_error
    assert sampled.standard_error < 0.2 * closed


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "at least one batch"),
        ([[]], "non-empty lists of sample indices; batch 0"),
        ([[0], torch.tensor([0.5])], "batch 1 has shape"),
        ([[0, 6]], r"indices in 0\.\.5; batch 0 has 0\.\.6"),
        ([[-1]], r"has -1\.\.-1"),
    ],
)
def test_bad_batches_are_refused(geometry, batches, message):
    with pytest.raises(ValueError, match=message):
        igsref.monte_carlo_minibatch_igs(geometry, batches=batches)


def test_a_single_batch_has_no_standard_error(geometry):
    sampled = igsref.monte_carlo_minibatch_igs(geometry, batches=[[0, 1]])
    assert sampled.standard_error == float("inf")
