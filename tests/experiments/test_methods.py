"""A training with each method: the same for a seed, better than chance, and ended by a NaN."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from experiments import methods
from experiments.data import random_images
from experiments.methods import METHODS, Pace, Trial, pace, run

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
    true = methods._Training.epoch

    def watched(training, number):
        ended = true(training, number)
        rates.append(training.schedule.get_last_lr()[0])
        return ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods._Training, "epoch", watched)
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


def test_a_training_that_ends_early_leaves_the_weights_of_its_last_whole_epoch(tmp_path):
    kept = {}
    true = methods._Training.epoch

    def watched(training, number):
        kept[number] = {name: value.clone() for name, value in training.model.state_dict().items()}
        if number == 2:
            training.data.images[:] = float("nan")
        return true(training, number)

    path = tmp_path / "folder" / "good.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods._Training, "epoch", watched)
        found = run(replace(TRIAL, epochs=4), data(0), data(1), path)
    assert found.ended.startswith("step 1 of epoch 3: ")
    left = load_file(path)
    assert left.keys() == kept[2].keys()
    assert all(left[name].equal(value) for name, value in kept[2].items())
    assert any(not left[name].equal(value) for name, value in kept[1].items())


@pytest.mark.parametrize("epochs", [1, 2])
def test_weights_that_overflow_in_the_last_step_end_it(tmp_path, epochs):
    """The loss of a step is that before it: only the weights tell."""
    steps = []
    true = methods._Training.step

    def watched(training, x, y):
        loss = true(training, x, y)
        steps.append(loss)
        if len(steps) == 4 * epochs:
            next(training.model.parameters()).data[0, 0] = float("nan")
        return loss

    path = tmp_path / "good.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods._Training, "step", watched)
        found = run(replace(TRIAL, epochs=epochs), data(0), data(1), path)
    assert found.ended == f"after epoch {epochs} 1.weight is not finite"
    assert all(value.isfinite().all() for value in load_file(path).values())


def test_methods_have_the_same_weights_and_batches_for_a_seed():
    """What all paired differences rest on."""
    seen = {}
    true = methods._Training.step

    def watched(training, x, y):
        name = training.trial.method
        if name not in seen:
            seen[name] = [value.clone() for value in training.model.state_dict().values()]
        seen[name] += [x.clone(), y.clone()]
        return true(training, x, y)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods._Training, "step", watched)
        for method in METHODS:
            run(replace(of(method), flips=True, crops=2, epochs=1), data(0), data(1))
    first = seen.pop("SGD")
    assert len(first) > 8
    for other in seen.values():
        assert all(a.equal(b) for a, b in zip(first, other, strict=True))


def test_a_training_that_ends_well_leaves_no_weights(tmp_path):
    run(TRIAL, data(0), data(1), tmp_path / "good.safetensors")
    assert not list(tmp_path.iterdir())


def test_pace_is_of_so_many_steps_across_epochs(monkeypatch):
    clock, sizes = iter([0.0, 10.0, 20.0, 21.0, 30.0, 31.0, 40.0, 44.0]), []
    true = methods._Training.step

    def watched(training, x, y):
        sizes.append(len(x))
        return true(training, x, y)

    monkeypatch.setattr(methods._Training, "step", watched)
    monkeypatch.setattr(methods.time, "monotonic", lambda: next(clock))
    assert pace(replace(TRIAL, batch=40), data(0), 4) == Pace(10.0, 2.0)
    assert sizes == [40] * 4  # of three that an epoch has


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be one of SGD, GR, SAM, ASAM, IGS; got 'A'"):
        run(replace(TRIAL, method="A"), data(0), data(1))
