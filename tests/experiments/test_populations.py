"""Kinds of networks, and all that is measured of one."""

from dataclasses import replace
from math import isnan

import pytest
import torch

import igsref
from experiments.data import random_images
from experiments.populations import (
    EPOCHS,
    FREE,
    MATCHED,
    MOST_EPOCHS,
    SIDES,
    TARGET,
    WIDTHS,
    perceptron,
    recipes,
    smaller,
    subject,
)


def test_a_perceptron_has_the_widths_of_its_name():
    model = perceptron("12-7-5", 3, 1)
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert shapes == [(7, 12), (7,), (5, 7), (5,), (3, 5), (3,)]
    assert model(torch.zeros(2, 1, 3, 4)).shape == (2, 3)
    assert isinstance(model[-1], torch.nn.Linear)


@pytest.mark.parametrize("name, channels", [("mnist", 1), ("cifar10", 3)])
def test_the_largest_network_has_no_more_than_4000_parameters(name, channels):
    inputs = channels * SIDES[name] ** 2
    model = perceptron(f"{inputs}-{max(WIDTHS)}-{max(WIDTHS)}", 10, channels)
    assert sum(p.numel() for p in model.parameters()) <= 4000


def test_a_population_has_different_kinds_and_both_have_the_same_ones():
    free, matched = recipes(48, 100, FREE), recipes(48, 100, MATCHED)
    kinds = {replace(recipe, seed=0) for recipe in free}
    assert len(kinds) == 48
    for one, other in zip(free, matched, strict=True):
        assert one.target == 0.0
        assert one.most_epochs in EPOCHS
        assert other == replace(one, target=TARGET, most_epochs=MOST_EPOCHS)
    for name in ("network", "rate", "batch", "decay", "wrong", "most_epochs"):
        assert len({getattr(recipe, name) for recipe in free}) > 1


@pytest.mark.parametrize("arguments", [(48, 100, "other"), (10**6, 100, FREE)])
def test_what_there_is_not_is_refused(arguments):
    with pytest.raises(ValueError, match=r"^(population|count) must be .*; got"):
        recipes(*arguments)


def test_smaller_images_are_means_of_pixels():
    data = random_images(0, 3, in_channels=1, side=4)
    found = smaller(data, 2).images
    assert found.dtype == torch.float64
    expected = data.images.double()[:, :, :2, 2:].mean(dim=(2, 3))
    torch.testing.assert_close(found[:, :, 0, 1], expected, rtol=1e-15, atol=1e-16)


def test_a_subject_has_its_gap_and_all_measures():
    sides = {"in_channels": 1, "side": 2, "num_classes": 3}
    data, test = (smaller(random_images(seed, 40, **sides), 2) for seed in (0, 1))
    recipe = replace(recipes(1, 4, FREE)[0], network="4-3", images=20, most_epochs=5, wrong=0.2)
    found = subject(recipe, data, test)
    assert found.epochs == 5
    assert found.parameters == 27
    assert found.reached
    assert found.measures["training loss"] == pytest.approx(found.training_loss, rel=1e-6)
    assert found.bracket[0] <= found.measures["IGS"] <= found.bracket[1]
    assert found.measures["AIC"] == 27 / 20
    assert set(igsref.MEASURES) <= set(found.measures) | set(found.refused)
    missed = subject(replace(recipe, target=1e-6), data, test)
    assert not missed.reached
    assert (missed.measures, missed.refused) == ({}, {})
    assert all(map(isnan, missed.bracket))
