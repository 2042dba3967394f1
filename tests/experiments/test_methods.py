"""A training with each method: the same for a seed, better than chance, and ended by a NaN."""

from dataclasses import replace

import pytest
import torch

from experiments import methods
from experiments.data import random_images
from experiments.methods import METHODS, Trial, run

TRIAL = Trial("3fcn", "SGD", 0.0, seed=1, epochs=2, batch=30)


def data(seed, samples=120):
    return random_images(seed, samples, in_channels=1, side=28, num_classes=3)


def of(method):
    rhos = METHODS[method].rhos
    return replace(TRIAL, method=method, rho=rhos[len(rhos) // 2] if rhos else 0.0)


def test_methods_are_the_paper_s_with_five_radii_each():
    assert list(METHODS) == ["SGD", "GR", "SAM", "ASAM", "IGS"]
    assert {len(method.rhos) for method in METHODS.values()} == {0, 5}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_is_the_same_for_a_seed(method):
    one, same = (run(of(method), data(0), data(1)) for _ in range(2))
    assert one.ended == ""
    assert one.accuracy > 0.9  # of three classes far apart
    assert one.training_loss < 0.2
    assert replace(same, seconds=0) == replace(one, seconds=0)


def test_methods_end_at_different_weights_and_seeds_too():
    losses = [run(of(method), data(0), data(1)).training_loss for method in METHODS]
    losses.append(run(replace(TRIAL, seed=2), data(0), data(1)).training_loss)
    assert len(set(losses)) == len(losses)


def test_smoothing_is_in_the_training_loss():
    plain, smooth = (
        run(replace(TRIAL, smoothing=level), data(0), data(1)).training_loss for level in (0.0, 0.5)
    )
    assert smooth > plain + 0.1  # cross-entropy with the labels as they are


def test_the_rate_ends_at_0():
    rates = []
    true = methods._epoch

    def watched(trial, model, optimizer, schedule, *rest):
        ended = true(trial, model, optimizer, schedule, *rest)
        rates.append(schedule.get_last_lr()[0])
        return ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "_epoch", watched)
        run(TRIAL, data(0), data(1))
    assert rates == pytest.approx([0.05, 0.0], abs=1e-12)


@pytest.mark.parametrize("method", ["SGD", "SAM"])
def test_a_loss_that_is_no_number_ends_it_with_the_step(method):
    broken = data(0)
    broken.images[0] = float("inf")
    found = run(of(method), broken, data(1))
    assert found.ended.startswith("step ")
    assert "of epoch 1: the" in found.ended
    assert torch.tensor([found.accuracy, found.loss, found.training_loss]).isnan().all()


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be one of SGD, GR, SAM, ASAM, IGS; got 'A'"):
        run(replace(TRIAL, method="A"), data(0), data(1))
