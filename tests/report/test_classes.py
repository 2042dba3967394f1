"""Shares of classes are sums over their samples."""

import time
from dataclasses import replace

import pytest
import torch

import igsref
from igsref.report import classes
from igsref.report.classes import class_shares, hard_labels, predictions
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


def test_one_logit_has_two_classes():
    line = torch.nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        line.weight.fill_(1.0)
    data = torch.tensor([[-1.0], [2.0], [3.0]]).double(), torch.tensor([[1.0], [1.0], [0.0]])
    problem = igsref.as_problem(line, data, likelihood="bernoulli")
    assert hard_labels(problem) == [1, 1, 0]
    assert predictions(problem) == [0, 1, 1]
    shares = class_shares(problem, igsref.exact_igs(problem))
    assert [(each.label, each.count) for each in shares] == [(0, 1), (1, 2)]
    soft = igsref.as_problem(line, (data[0], 0.5 * data[1]), likelihood="bernoulli")
    assert hard_labels(soft) is None
    pair = igsref.as_problem(
        torch.nn.Linear(1, 2).double(), (data[0], torch.ones(3, 2)), likelihood="bernoulli"
    )
    assert hard_labels(pair) is predictions(pair) is None


def test_predictions_are_the_largest_logits():
    model, (x, y) = images(4)
    problem = igsref.as_problem(model, (x, y))
    assert predictions(problem) == model(x).argmax(dim=1).tolist()


@pytest.mark.long
def test_many_classes_take_no_time_for_each_of_their_samples(monkeypatch):
    model, (x, y) = images(4)
    problem = igsref.as_problem(model, (x, y))
    count = 30_000
    score = torch.arange(1.0, count + 1, dtype=torch.float64)
    result = replace(igsref.exact_igs(problem), per_sample=score, sample_ceiling=score)
    monkeypatch.setattr(classes, "hard_labels", lambda problem: list(range(count)))
    began = time.process_time()
    shares = class_shares(problem, result)
    # One pass over the samples for every class is 9e8 steps in Python, a minute at the least.
    assert time.process_time() - began < 5
    assert shares[-1] == classes.ClassShare(
        count - 1, 1, *[pytest.approx(count / float(score.sum()), rel=1e-12)] * 2
    )
