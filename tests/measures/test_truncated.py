"""The truncated IGS: some of the IGS, never more, and not invariant."""

import pytest
import torch

import igsref
from igsref.transforms.symmetries.node_scaling import draw_node_scaling
from tests.measures.test_matrixfree import convolutional, labelled, perceptron

MLP = (perceptron(0, 4, 8, 8, 3), labelled(0, 25, (4,), 3))
CNN = (convolutional(1), labelled(1, 9, (1, 6, 6), 3))


@pytest.mark.long
def test_truncation_grows_to_the_igs_and_is_not_it():
    model, data = CNN
    exact = igsref.exact_igs(model, data)
    values = []
    for k in (1, 6, exact.rank):
        with pytest.warns(igsref.TruncationWarning, match="is not the IGS"):
            found = igsref.truncated_igs(model, data, k=k, tolerance=1e-12)
        values.append(found.value)
        assert len(found.terms) == k
        assert found.share == pytest.approx(found.value / exact.ceiling)
    assert values[0] < values[1] < values[2]
    # The last eigenvalues, 1e-4 of the first, are known to 1e-12 of it.
    assert values[2] == pytest.approx(exact.value, rel=1e-6)


def test_truncation_moves_under_a_node_scaling():
    model, data = MLP
    scaled = draw_node_scaling(model, torch.Generator().manual_seed(0), 1.0)
    with pytest.warns(igsref.TruncationWarning):
        before, after = (igsref.truncated_igs(m, data, k=4).value for m in (model, scaled))
    assert abs(after / before - 1) > 1e-3


def test_eigenvalues_that_are_rounding_add_nothing():
    """Dead on most samples: the exact rank is below what structure allows for, and below k."""
    model, data = perceptron(0, 3, 4, 4, 2), labelled(0, 50, (3,), 2)
    exact = igsref.exact_igs(model, data)
    with pytest.warns(igsref.TruncationWarning):
        found = igsref.truncated_igs(model, data, k=exact.rank + 6)
    assert len(found.terms) <= exact.rank
    assert found.value <= exact.value * (1 + 1e-6)
