"""The hierarchy of gradients."""

import pytest
import torch
from torch import nn

import igsref
from tests.strategies import architecture, gaussian


def test_shares_add_up_to_the_trace():
    model, x, y = architecture("MLP with tanh", 0, 30)
    hierarchy = igsref.gradient_hierarchy(model, (x, y))
    shares = hierarchy.outliers + hierarchy.secondary + hierarchy.bulk
    assert shares == pytest.approx(1.0, rel=1e-12)
    trace = float(igsref.fisher(model, (x, y)).trace())
    assert float(hierarchy.eigenvalues.sum()) == pytest.approx(trace, rel=1e-12)


def test_prediction_is_exact_when_wrong_classes_share_evenly_and_classes_are_points():
    """Appendix A's premises hold: one distinct input per class, p = ε for every wrong class."""
    classes, t = 4, 3.0
    model = nn.Sequential(nn.Linear(classes, classes, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(t * torch.eye(classes))
    y = torch.arange(20) % classes
    x = torch.eye(classes).double()[y]
    hierarchy = igsref.gradient_hierarchy(model, (x, y))
    predicted = torch.cat([hierarchy.predicted_outliers, hierarchy.predicted_secondary])
    seen = hierarchy.eigenvalues[: classes * (classes - 1)]
    torch.testing.assert_close(
        predicted.sort(descending=True).values, seen, rtol=0, atol=1e-14 * float(seen[0]) * 20
    )
    assert hierarchy.predicted_shares[0] == pytest.approx(hierarchy.outliers, rel=1e-12)
    assert hierarchy.bulk == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (torch.full((3, 3), 1 / 3), {}),
        (gaussian(0, 3, 3), {"likelihood": "gaussian"}),
    ],
)
def test_soft_labels_and_other_likelihoods_are_refused(labels, options):
    model, x, _ = architecture("MLP with tanh", 0, 3)
    with pytest.raises(ValueError, match="gradient_hierarchy needs hard labels"):
        igsref.gradient_hierarchy(model, (x, labels), **options)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 0, 2, 1]], ids=["larger", "reordered"])
def test_a_pool_is_refused(order):
    model, x, y = architecture("MLP with tanh", 0, 4)
    size = 4 if order != sorted(order) else 3
    options = {"fisher_data": x, "members": torch.tensor(order[:size])}
    with pytest.raises(ValueError, match="a label for every input of F; leave fisher_data out"):
        igsref.gradient_hierarchy(model, (x[order[:size]], y[order[:size]]), **options)
