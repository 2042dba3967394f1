"""Training is what it says, resumes to the bit, and never takes one file for another."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments import training
from experiments.data import random_images, with_label_noise
from experiments.files import CorruptFile, OtherSettings
from experiments.networks import NETWORKS
from experiments.training import augmented, score, train_or_load

SIDE = 6


@pytest.fixture(autouse=True)
def one_thread():
    """On several threads sums may be added in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A network with all that a state can hold: weights, velocities, running statistics."""

    def build(num_classes, in_channels):
        convolution = nn.Conv2d(in_channels, 4, 3)
        head = nn.Linear(4 * (SIDE - 2) ** 2, num_classes)
        return nn.Sequential(convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), head)

    monkeypatch.setitem(NETWORKS, "tiny", build)


def images(seed=0, samples=30):
    return random_images(seed, samples, num_classes=3, in_channels=2, side=SIDE, spread=0.5)


OPTIONS = {"epochs": 3, "batch_size": 8, "flips": True, "crops": 1, "label_noise": 0.2, "seed": 5}


def train(folder, data=None, network="tiny", **options):
    return train_or_load(network, data or images(), folder=folder, **(OPTIONS | options))


def states_are_equal(one, other):
    first, second = one.model.state_dict(), other.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("number", range(1, 2 * OPTIONS["epochs"] + 1))
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path, monkeypatch, number):
    expected = train(tmp_path / "whole")
    replacing, count = training.replacing, 0

    def killed(path):
        nonlocal count
        count += 1
        if count == number:
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".part").write_bytes(b"half a file")
            raise KeyboardInterrupt
        return replacing(path)

    with monkeypatch.context() as patch:
        patch.setattr(training, "replacing", killed)
        with pytest.raises(KeyboardInterrupt, match=f"^interrupted after {(number - 1) // 2} of 3"):
            train(tmp_path / "killed")
    torch.manual_seed(number)  # the global generator has no part in it
    resumed = train(tmp_path / "killed")
    assert states_are_equal(resumed, expected)
    assert resumed.losses == expected.losses
    assert resumed.score == expected.score


def test_a_finished_network_is_loaded_and_not_trained_again(tmp_path, monkeypatch):
    trained = train(tmp_path)
    monkeypatch.setattr(training, "_run_epoch", None)
    loaded = train(tmp_path)
    assert states_are_equal(loaded, trained)
    assert torch.equal(loaded.data.labels, trained.data.labels)
    assert not loaded.model.training
    assert {value.dtype for value in loaded.model.parameters()} == {torch.float32}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tiny.epoch-3.safetensors",
        "tiny.json",
    ]


def test_the_score_is_that_of_the_labels_trained_on(tmp_path):
    trained = train(tmp_path, epochs=20)
    data = with_label_noise(images(), OPTIONS["label_noise"], OPTIONS["seed"])
    assert torch.equal(trained.data.labels, data.labels)
    assert trained.score == score(trained.model, data)
    assert trained.score != score(trained.model, images())


def test_a_network_learns_what_holds_for_other_images_too(tmp_path):
    trained = train(tmp_path, epochs=10, label_noise=0.0)
    assert trained.losses[-1] < trained.losses[0] / 2
    assert score(trained.model, images(seed=1, samples=100)).accuracy > 0.9


def test_steps_follow_the_cosine_and_the_options(tmp_path, monkeypatch):
    rates, seen = [], {}
    step = torch.optim.SGD.step

    def recorded(optimizer):
        (group,) = optimizer.param_groups
        rates.append(group["lr"])
        seen.update(group)
        return step(optimizer)

    monkeypatch.setattr(torch.optim.SGD, "step", recorded)
    train(tmp_path, learning_rate=0.25, momentum=0.75, weight_decay=0.5)
    steps = 3 * math.ceil(30 / 8)
    assert rates == [0.25 * (1 + math.cos(math.pi * (t / steps))) / 2 for t in range(steps)]
    assert (seen["momentum"], seen["weight_decay"], seen["nesterov"]) == (0.75, 0.5, True)


def test_plain_sgd_has_no_velocity_to_keep(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", momentum=0.0)
    run = training._run_epoch

    def stops(state, settings, data, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return run(state, settings, data, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_run_epoch", stops)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", momentum=0.0)
    assert states_are_equal(train(tmp_path / "killed", momentum=0.0), whole)


def test_batches_are_equal_up_to_one_image_and_meet_each_image_once(tmp_path, monkeypatch):
    batches = []

    def kept(x, _, **options):
        batches.append(x)
        return x

    monkeypatch.setattr(training, "augmented", kept)
    train(tmp_path, data=images(samples=25), epochs=1)
    assert sorted(len(batch) for batch in batches) == [6, 6, 6, 7]
    met = torch.cat(batches).flatten(1)[:, 0].sort().values
    assert torch.equal(met, images(samples=25).images.flatten(1)[:, 0].sort().values)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"epochs": 4}, "epochs 3, not 4"),
        ({"seed": 6, "learning_rate": 0.2}, "learning_rate 0.1, not 0.2, seed 5, not 6"),
        ({"crops": 2}, "crops 1, not 2"),
        ({"data": images(seed=1)}, "data synthetic, seed 0, not synthetic, seed 1, digest .*"),
        ({"data": replace(images(), labels=1 - images().labels % 2)}, "digest [0-9a-f]+, not .*"),
    ],
)
def test_other_settings_are_refused_with_what_differs(tmp_path, options, difference):
    train(tmp_path)
    path = re.escape(str(tmp_path / "tiny.json"))
    message = f"^{path} was made with {difference}: give another folder$"
    with pytest.raises(OtherSettings, match=message):
        train(tmp_path, **options)


def edited(change):
    def edit(folder):
        path = folder / "tiny.json"
        description = json.loads(path.read_text())
        change(description)
        path.write_text(json.dumps(description))

    return edit


def cut(folder):
    path = folder / "tiny.epoch-3.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "tiny.json").write_text("{"), "tiny.json must be JSON; "),
        (lambda folder: (folder / "tiny.json").write_text("[]"), "tiny.json must have the fields"),
        (edited(lambda d: d.pop("losses")), "tiny.json must have the fields .*; see losses$"),
        (edited(lambda d: d.update(tensors=3)), "tiny.json must have the fields .*; see tensors$"),
        (cut, "tiny.epoch-3.safetensors must have the SHA-256 that its description states"),
        (
            lambda folder: (folder / "tiny.epoch-3.safetensors").unlink(),
            "tiny.epoch-3.safetensors must hold the network's tensors; there is no such file$",
        ),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, damage, message):
    train(tmp_path)
    damage(tmp_path)
    with pytest.raises(CorruptFile, match=f"^{re.escape(str(tmp_path))}/{message}"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"crops": -1}, "crops must be at least 0; got -1"),
        (
            {"learning_rate": 0.0},
            "learning_rate must be positive, weight_decay at least 0; got 0.0",
        ),
        (
            {"weight_decay": -1.0},
            "learning_rate must be positive, weight_decay at least 0; got 0.1",
        ),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1; got 1.0"),
        ({"label_noise": 2.0}, "label noise must be from 0 to 1; got 2.0"),
        ({"network": "big"}, "network must be one of .*, tiny; got 'big'"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        train(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_run_that_diverges_stops_with_a_word(tmp_path):
    with pytest.raises(FloatingPointError, match=r"^tiny diverged in epoch \d: loss (inf|nan)$"):
        train(tmp_path, learning_rate=1e30)


def test_the_random_states_are_left_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    train(tmp_path)
    assert torch.rand(()) == expected


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_crops_are_shifts_and_flips_are_mirror_images():
    x = torch.arange(1.0, 3 * 2 * 4 * 4 + 1).view(3, 2, 4, 4).repeat(40, 1, 1, 1)
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    seen = set()
    for original, got in zip(padded, augmented(x, drawn(), flips=True, crops=1), strict=True):
        ways = {
            (down, right, mirrored)
            for down in range(3)
            for right in range(3)
            for mirrored in (False, True)
            if torch.equal(
                got, (original.flip(2) if mirrored else original)[:, down:, right:][:, :4, :4]
            )
        }
        assert len(ways) == 1
        seen |= ways
    assert len(seen) == 18  # of 120 draws


def test_nothing_is_changed_unless_asked():
    x = images().images
    assert augmented(x, drawn(), flips=False, crops=0) is x
    before = x.clone()
    augmented(x, drawn(), flips=True, crops=2)
    assert torch.equal(x, before)


def test_the_score_is_in_evaluation_mode_and_leaves_the_mode():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(2 * SIDE * SIDE, 3)).train()
    data = images()
    with torch.no_grad():
        logits = model[2](data.images.flatten(1)).double()
    loss, accuracy = score(model, data)
    # One sum of 30 terms in float64, in another order.
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, data.labels)), rel=1e-14)
    assert accuracy == float((logits.argmax(1) == data.labels).double().mean())
    assert model.training
