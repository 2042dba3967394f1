"""Training ends at the target or says that it did not get there."""

import dataclasses
import math

import pytest
import torch

from experiments.data import random_images
from experiments.recipes import fitted, shortfall
from experiments.training import score
from tests.experiments.pool_examples import RECIPE, half_wrong


def test_training_ends_at_the_target_with_the_share_of_wrong_labels():
    trained, clean = half_wrong(), random_images(0, RECIPE.images)
    assert torch.equal(trained.wrong, trained.data.labels != clean.labels)
    count = len(trained.wrong)
    # Five standard deviations of the binomial.
    assert abs(int(trained.wrong.sum()) - count / 2) < 5 * math.sqrt(count) / 2
    assert trained.loss == score(trained.model, trained.data).loss <= RECIPE.target
    assert 1 < trained.epochs < RECIPE.most_epochs
    assert shortfall(RECIPE, trained.loss, trained.epochs) is None


def test_training_has_not_ended_an_epoch_before():
    before = dataclasses.replace(RECIPE, most_epochs=half_wrong().epochs - 1)
    trained = fitted(before, random_images(0, RECIPE.images))
    assert trained.loss > RECIPE.target


def test_a_missed_target_is_said():
    recipe = dataclasses.replace(RECIPE, target=0.25, most_epochs=2)
    trained = fitted(recipe, random_images(0, recipe.images))
    said = shortfall(recipe, trained.loss, trained.epochs)
    assert said == f"loss {trained.loss:.4f} after 2 epochs misses the target of 0.25"


def test_a_loss_that_is_not_finite_is_refused():
    recipe = dataclasses.replace(RECIPE, rate=1e30)
    with pytest.raises(FloatingPointError, match="cnn500 diverged: loss nan after 1 epochs"):
        fitted(recipe, random_images(0, recipe.images))
