"""Rows of each rule against the metric of the outputs and against residuals written out."""

import pytest
import torch

from igsref.likelihoods import Bernoulli, Categorical, Gaussian
from igsref.training import empirical_labels, exact_labels, sampled_labels
from tests.closeness import EPS, assert_within
from tests.strategies import classes, gaussian


def seeded():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("likelihood", [Categorical(), Bernoulli(), Gaussian()])
def test_exact_labels_give_the_metric(likelihood):
    logits = gaussian(1, 5, 3)
    rows = exact_labels(likelihood, logits, None, seeded())
    # Entries of the metric are at most 1, and sums of at most 3 products of rounded factors.
    assert_within(rows.mT @ rows, likelihood.metric(logits), 64 * EPS)


def test_exact_labels_of_classes_cost_one_pass_less_than_there_are():
    assert exact_labels(Categorical(), gaussian(1, 5, 3), None, seeded()).shape == (5, 2, 3)


def test_a_sampled_label_is_a_class_as_often_as_it_is_probable():
    draws = 4000
    logits = gaussian(1, 1, 3)
    p = logits.softmax(dim=1)[0]
    rows = sampled_labels(Categorical(), logits.expand(draws, 3), None, seeded()).squeeze(1)
    drawn = rows.argmin(dim=1)  # p − e_c is negative at c alone
    assert_within(rows, p - torch.eye(3).double()[drawn], 8 * EPS)
    shares = torch.bincount(drawn, minlength=3) / draws
    # Five standard errors: a correct rule leaves them once in two million.
    assert_within(shares, p, 5 * (p * (1 - p) / draws).sqrt())


def test_sampled_labels_of_one_logit_are_zeros_and_ones():
    logits = gaussian(1, 40, 1)
    rows = sampled_labels(Bernoulli(), logits, None, seeded())
    labels = (logits.sigmoid() - rows[:, 0]).round()
    assert set(labels.flatten().tolist()) == {0.0, 1.0}
    assert_within(rows[:, 0], logits.sigmoid() - labels, 4 * EPS)


def test_labels_that_cannot_be_listed_are_refused():
    with pytest.raises(ValueError, match="3 logits of the gaussian likelihood cannot be listed"):
        sampled_labels(Gaussian(), gaussian(1, 5, 3), None, seeded())


def test_empirical_labels_are_those_of_the_data():
    logits, y = gaussian(1, 5, 3), classes(2, 5, 3)
    targets = Categorical().targets(y, logits)
    rows = empirical_labels(Categorical(), logits, targets, seeded())
    assert_within(rows[:, 0], logits.softmax(dim=1) - targets, 8 * EPS)
    with pytest.raises(ValueError, match="needs the labels of the batch; got none"):
        empirical_labels(Categorical(), logits, None, seeded())
