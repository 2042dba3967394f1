"""Shares of classes are sums over their samples."""

import pytest
import torch

import igsref
from igsref.report.classes import class_shares, hard_labels
from tests.report.networks import images


def test_shares_are_sums_over_the_samples_of_a_class():
    model, (x, y) = images(7)
    problem = igsref.as_problem(model, (x, y))
    result = igsref.exact_igs(problem)
    shares = class_shares(problem, result)
    assert [each.label for each in shares] == [0, 1, 2]
    assert [each.count for each in shares] == [3, 2, 2]
    for each in shares:
        own = y == each.label
        assert each.share == pytest.approx(
            float(result.per_sample[own].sum()) / (7 * result.value), rel=1e-12
        )
        assert each.ceiling_share == pytest.approx(
            float(result.sample_ceiling[own].sum() / result.sample_ceiling.sum()), rel=1e-12
        )


def test_a_class_without_samples_is_left_out():
    model, (x, _) = images(4)
    problem = igsref.as_problem(model, (x, torch.tensor([2, 0, 2, 0])))
    shares = class_shares(problem, igsref.exact_igs(problem))
    assert [(each.label, each.count) for each in shares] == [(0, 2), (2, 2)]


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian"])
def test_probabilities_and_real_numbers_are_no_classes(likelihood):
    model, (x, _) = images(4)
    labels = torch.full((4, 3), 1 / 3, dtype=torch.float64)
    problem = igsref.as_problem(model, (x, labels), likelihood=likelihood)
    assert hard_labels(problem) is None
    assert class_shares(problem, igsref.exact_igs(problem)) == ()
