"""Λ', its inverse and u' in balls against the likelihoods' formulas in 50 digits."""

import numpy as np
import pytest
import torch
from flint import arb, ctx
from torch import nn

import igsref
from igsref.exact.arithmetic import BALLS
from igsref.exact.output_metric import output_metric
from tests.closeness import EPS
from tests.likelihoods import exact
from tests.strategies import gaussian

BITS = 300
LOGITS = torch.tensor(
    [[0.5, -1.0, 2.0], [3.0, 3.0, -30.0], [-200.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
).double()  # confident, tied and not
SOFT = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0], [0.125, 0.375, 0.5], [1.0, 0.0, 0.0]])
IN_UNIT = torch.tensor([[0.0, 1.0, 0.25], [1.0, 1.0, 0.0], [0.5, 0.0, 1.0], [0.0, 0.75, 1.0]])
LABELS = {
    "categorical": torch.tensor([0, 2, 1, 1]),
    "soft": SOFT.double(),
    "bernoulli": IN_UNIT.double(),
    "gaussian": gaussian(0, 4, 3),
}
MEMBERS = torch.tensor([2, 0])


def made(name, *, members=None):
    """Metric and problem of an identity network, whose inputs are its logits."""
    model = nn.Linear(3, 3).double()
    with torch.no_grad():
        model.weight.copy_(torch.eye(3))
        model.bias.zero_()
    likelihood = name if name in ("bernoulli", "gaussian") else "categorical"
    chosen = torch.arange(4) if members is None else members
    pool = {} if members is None else {"fisher_data": LOGITS, "members": members}
    data = LOGITS[chosen], LABELS[name][chosen]
    problem = igsref.as_problem(model, data, likelihood=likelihood, **pool)
    assert torch.equal(problem.logits, LOGITS)
    return output_metric(problem, BALLS.array(LOGITS)), problem


def reference(name, problem):
    """Λ and u of every sample, rounded from 50 digits."""
    if name == "gaussian":
        return torch.eye(3).double().expand(4, 3, 3), LOGITS - LABELS[name]
    if name != "bernoulli":
        return exact.metric(LOGITS), exact.output_gradient(LOGITS, problem.targets)
    pairs = exact.with_silent_class(LOGITS.reshape(-1, 1))
    q = torch.stack([1 - LABELS[name].flatten(), LABELS[name].flatten()], dim=1)
    diagonal = exact.metric(pairs)[:, 1, 1].view(4, 3)
    return torch.diag_embed(diagonal), exact.output_gradient(pairs, q)[:, 1].view(4, 3)


def assert_rounds_to(ball, value, scale=0.0):
    """A ball that is a float but for its rounding; scale: of numbers that cancel."""
    assert abs(ball - arb(value)) <= max(abs(value), scale) * EPS


@pytest.mark.parametrize("name", LABELS)
def test_metric_and_residual_are_those_of_the_likelihood_in_the_rows_of_its_contrast(name):
    with ctx.workprec(BITS):
        found, problem = made(name)
        K = BALLS.array(problem.likelihood.contrast(problem.logits))
        metric, gradient = reference(name, problem)
        for sample in range(4):
            whole = K[sample].T @ found.metric[sample] @ K[sample]
            u = found.residual[sample] @ K[sample]
            for ball, value in zip(whole.flat, metric[sample].flatten().tolist(), strict=True):
                assert_rounds_to(ball, value)
            for ball, value in zip(u, gradient[sample].tolist(), strict=True):
                assert_rounds_to(ball, value)


@pytest.mark.parametrize("name", LABELS)
def test_the_inverse_is_one(name):
    with ctx.workprec(BITS):
        found, _ = made(name)
        for metric, inverse in zip(found.metric, found.inverse, strict=True):
            product = metric @ inverse
            for (i, j), ball in np.ndenumerate(product):
                assert ball.contains(int(i == j))
                assert ball.rad() < 2.0 ** (-BITS / 3)


@pytest.mark.parametrize("name", ["categorical", "soft"])
def test_ceilings_are_those_of_softmax(name):
    with ctx.workprec(BITS):
        found, problem = made(name)
        expected = exact.ceiling(LOGITS, problem.targets).tolist()
        for ball, value in zip(found.ceiling([0, 1, 2, 3]), expected, strict=True):
            assert_rounds_to(ball, value)
            assert ball.rad() <= abs(ball) * 2.0 ** (-BITS / 2)


def test_a_hard_label_s_ceiling_is_its_odds():
    with ctx.workprec(BITS):
        found, problem = made("categorical")
        expected = exact.hard_ceiling(LOGITS, problem.targets).tolist()
        for ball, value in zip(found.ceiling([0, 1, 2, 3]), expected, strict=True):
            assert_rounds_to(ball, value)


@pytest.mark.parametrize("name", LABELS)
def test_labelled_samples_take_the_logits_of_their_place_in_a_pool(name):
    with ctx.workprec(BITS):
        every, _ = made(name)
        some, problem = made(name, members=MEMBERS)
        assert len(some.metric) == 4 and len(some.residual) == 2
        for sample, place in enumerate(MEMBERS.tolist()):
            for a, b in zip(some.residual[sample], every.residual[place], strict=True):
                assert a.overlaps(b)
        ceilings = zip(
            some.ceiling(MEMBERS.tolist()), every.ceiling([0, 1, 2, 3])[MEMBERS], strict=True
        )
        assert all(a.overlaps(b) and a.rad() < abs(a) for a, b in ceilings)
        assert problem.pool_size == 4
