"""The callback tracks a Trainer's model, and the Trainer trains as if it were not there."""

import copy
import importlib
import sys

import pytest
import torch

import igsref
from tests.hugging_face import bert
from tests.random_states import states
from tests.strategies import classes
from tests.training.tracking import assert_rows_of, assert_same_weights, rows, steps

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
STEPS, EVERY = 6, 3
SIZE = {"size": 16, "layers": 2}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def callback(*args, **settings):
    from igsref.training.hugging_face import TrackerCallback

    return TrackerCallback(*args, **{"every": EVERY, "logits": "logits", **settings})


def batch(seed, count):
    return {
        "input_ids": classes(seed, count * 5, 11).view(count, 5),
        "attention_mask": torch.ones(count, 5, dtype=torch.int64),
        "labels": classes(seed + 1, count, 3),
    }


PROBE = batch(1, 3)


def arguments(folder, **settings):
    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
    sizes = {"per_device_train_batch_size": 4, "max_steps": STEPS, "seed": 3}
    return transformers.TrainingArguments(str(folder), **{**quiet, **sizes, **settings})


def trained(folder, *callbacks, resume=None, **settings):
    """A classifier after some steps; its dropout and its order of samples are drawn."""
    data = [{name: value[i] for name, value in batch(3, 12).items()} for i in range(12)]
    trainer = transformers.Trainer(
        bert(**SIZE), arguments(folder, **settings), train_dataset=data, callbacks=list(callbacks)
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer.model


class Seen(transformers.TrainerCallback):
    """Does something to the model after a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, args, state, control, *, model, **rest):
        if state.global_step == self.step:
            self.act(model)


def test_training_is_the_same_and_rows_are_what_the_measure_says(tmp_path):
    copies, modes = [], []
    keep = Seen(EVERY, lambda model: copies.append(copy.deepcopy(model)))
    plain = trained(tmp_path)
    after = states()
    tracker = callback(PROBE, tmp_path / "a.csv")
    mode = Seen(EVERY, lambda model: modes.append(model.training))
    seen = trained(tmp_path, keep, tracker, mode)
    assert states() == after
    assert modes == [True]
    assert_same_weights(plain, seen)
    with pytest.warns(RuntimeWarning, match="cannot be vmapped"):
        expected = igsref.igs(copies[0].eval(), PROBE, logits="logits")
    assert_rows_of(tmp_path / "a.csv", expected, tracker.tracker.last)


@pytest.mark.long
def test_steps_are_those_of_the_optimizer_and_a_training_that_resumes_appends(tmp_path):
    path, settings = tmp_path / "a.csv", {"gradient_accumulation_steps": 2}
    first, again = (callback(PROBE, path, every=2) for _ in range(2))
    trained(tmp_path, first, max_steps=4, save_strategy="steps", save_steps=3, **settings)
    assert steps(path) == [0, 2, 4]
    trained(tmp_path, again, max_steps=6, resume=str(tmp_path / "checkpoint-3"), **settings)
    assert steps(path) == [0, 2, 4, 6]


@pytest.mark.long
def test_mixed_precision_leaves_the_measure_in_float64(tmp_path):
    found = []
    for name, mixed in (("a.csv", False), ("b.csv", True)):
        tracker = callback(PROBE, tmp_path / name)
        model = trained(tmp_path, tracker, max_steps=1, bf16=mixed)
        assert ("forward" in vars(model)) == mixed  # under which accelerate puts autocast
        found += [tracker.tracker.last.value]
    assert found[0] == found[1]


def test_a_network_that_cannot_be_measured_is_trained_on(tmp_path):
    def spoil(model):
        model.classifier.bias.data.fill_(float("nan"))

    tracker, after = callback(PROBE, tmp_path / "a.csv", every=2), []
    last = Seen(STEPS, lambda model: after.append(model))
    with pytest.warns(RuntimeWarning, match="step 2 was not measured: .*finite"):
        trained(tmp_path, Seen(1, spoil), tracker, last)
    assert after
    found = rows(tmp_path / "a.csv")
    assert [row["step"] for row in found] == ["0", "2", "4", "6"]
    assert [row["value"] == "" for row in found] == [False, True, True, True]


def begin(tracker, folder, model, **state):
    tracker.on_train_begin(
        arguments(folder),
        transformers.TrainerState(**state),
        transformers.TrainerControl(),
        model=model,
    )


def test_the_main_process_alone_measures_and_writes(tmp_path):
    tracker = callback(PROBE, tmp_path / "a.csv")
    begin(tracker, tmp_path, bert(**SIZE), is_world_process_zero=False)
    state = transformers.TrainerState(global_step=EVERY, is_world_process_zero=False)
    tracker.on_step_end(arguments(tmp_path), state, transformers.TrainerControl())
    assert tracker.tracker is None
    assert not (tmp_path / "a.csv").exists()


def test_the_trainers_model_is_looked_at_in_every_process(tmp_path):
    model = bert(**SIZE)
    model.classifier.bias.ds_id = 0
    tracker = callback(PROBE, tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"classifier\.bias is sharded"):
        begin(tracker, tmp_path, model, is_world_process_zero=False)


def test_transformers_is_asked_for_by_this_module_alone(monkeypatch):
    monkeypatch.setattr(igsref, "training", igsref.training)  # what is imported anew goes again
    for name in [name for name in sys.modules if name.startswith("igsref.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    importlib.import_module("igsref.training")
    with pytest.raises(ImportError, match=r"pip install 'igsref\[huggingface\]'"):
        importlib.import_module("igsref.training.hugging_face")
