"""What all likelihoods share: one face, and the shapes that it promises."""

import pytest
import torch

import igsref
from igsref.likelihoods import LIKELIHOODS, Likelihood, find_likelihood
from igsref.likelihoods.protocol import LARGEST_LOGIT_DIFFERENCE, check_spread
from tests.closeness import EPS, assert_within

every_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=LIKELIHOODS)
LOGITS = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.25, -0.5]], dtype=torch.float64)
LABELS = torch.tensor([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]], dtype=torch.float64)


@every_likelihood
def test_a_likelihood_shows_the_whole_face(likelihood):
    assert isinstance(likelihood, Likelihood)


@every_likelihood
def test_a_likelihood_is_found_by_its_name_and_by_itself(likelihood):
    assert find_likelihood(likelihood.name) is likelihood
    assert find_likelihood(likelihood) is likelihood


@every_likelihood
def test_the_output_gradient_is_the_derivative_of_the_loss(likelihood):
    u = torch.func.grad(lambda f: likelihood.loss(f, LABELS).sum())(LOGITS)
    assert_within(u, likelihood.output_gradient(LOGITS, LABELS), 16 * EPS)


@every_likelihood
def test_the_metric_is_the_expected_curvature_of_the_divergence(likelihood):
    def divergence(moved, f):
        return likelihood.divergence(f[None], moved[None])[0]

    curvature = torch.stack([torch.func.hessian(divergence)(f, f) for f in LOGITS])
    assert_within(curvature, likelihood.metric(LOGITS), 16 * EPS)


@every_likelihood
def test_shapes_are_those_of_the_protocol(likelihood):
    n, classes = LOGITS.shape
    height = likelihood.contrast(LOGITS).shape[1]
    assert likelihood.contrast(LOGITS).shape == (n, height, classes)
    assert likelihood.root(LOGITS).shape == (n, height, height)
    assert likelihood.residual(LOGITS, LABELS).shape == (n, height)
    assert likelihood.loss(LOGITS, LABELS).shape == (n,)
    assert likelihood.ceiling(LOGITS, LABELS).shape == (n,)
    assert likelihood.targets(LABELS, LOGITS).shape == (n, classes)


@every_likelihood
def test_logits_stay_as_they_were(likelihood):
    logits, labels = LOGITS.clone(), LABELS.clone()
    likelihood.check_logits(logits)
    for method in ("residual", "loss", "ceiling", "output_gradient"):
        getattr(likelihood, method)(logits, likelihood.targets(labels, logits))
    assert torch.equal(logits, LOGITS)
    assert torch.equal(labels, LABELS)


def test_the_largest_logit_difference_is_the_last_that_float64_exponentiates():
    size = torch.tensor([LARGEST_LOGIT_DIFFERENCE], dtype=torch.float64)
    check_spread(size, "a size of")
    assert bool(size.exp().isfinite())
    assert not bool((size + 1).exp().isfinite())


@pytest.mark.parametrize("likelihood", [igsref.Categorical, igsref.Bernoulli, igsref.Gaussian])
def test_a_likelihood_takes_no_argument_that_could_be_meant_for_a_scale(likelihood):
    with pytest.raises(TypeError, match="positional argument"):
        likelihood(0.1)
