"""The callback tracks a LightningModule, and Lightning trains as if it were not there."""

import copy
import importlib
import logging
import re
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import igsref
from tests.random_states import states
from tests.strategies import classes, gaussian
from tests.training.tracking import assert_rows_of, assert_same_weights, rows, steps

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
STEPS, EVERY = 6, 3
pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec"),  # Lightning's, of torch's pytrees
]


@pytest.fixture(autouse=True)
def lightning():
    """Imported by the tests alone: that takes seconds."""
    found = pytest.importorskip("lightning.pytorch")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return found


@cache
def classifier():
    """Class of a network with dropout, and statistics of its batches."""
    from lightning.pytorch import LightningModule

    class Classifier(LightningModule):
        def __init__(self):
            super().__init__()
            layers = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
            self.layers, self.autocast = nn.Sequential(*layers), []

        def forward(self, x):
            return self.layers(x)

        def training_step(self, batch, index):
            self.autocast.append(torch.is_autocast_enabled("cpu"))
            return cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    return Classifier


def network():
    torch.manual_seed(0)
    return classifier()()


def probe():
    return gaussian(1, 10, 3).float(), classes(2, 10, 3)


def trainer(*callbacks, **settings):
    from lightning.pytorch import Trainer

    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    given = {"accelerator": "cpu", "devices": 1, "max_steps": STEPS, **quiet, **settings}
    return Trainer(callbacks=list(callbacks), **given)


def trained(*callbacks, resume=None, **settings):
    """A network after some steps; dropout and the order of samples are drawn."""
    model, (x, y) = network(), (gaussian(3, 24, 3).float(), classes(4, 24, 3))
    torch.manual_seed(1)
    loader = DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True)
    trainer(*callbacks, **settings).fit(model, loader, ckpt_path=resume)
    return model


def callback(path, **settings):
    from igsref.training.lightning import TrackerCallback

    return TrackerCallback(probe(), path, **{"every": EVERY, **settings})


def after(step, act):
    """Callback that does something with trainer and module after a step."""
    from lightning.pytorch import Callback

    class After(Callback):
        def on_train_batch_end(self, trainer, pl_module, *rest):
            if trainer.global_step == step:
                act(trainer, pl_module)

    return After()


@pytest.mark.long
def test_training_is_the_same_and_rows_are_what_the_measure_says(tmp_path):
    copies = []
    keep = after(EVERY, lambda trainer, module: copies.append(copy.deepcopy(module)))
    plain = trained()
    left = states()
    tracker = callback(tmp_path / "a.csv")
    seen = trained(tracker, keep)
    assert states() == left
    assert copies[0].training
    assert_same_weights(plain, seen)
    expected = igsref.igs(copies[0].layers.eval(), probe())
    assert_rows_of(tmp_path / "a.csv", expected, tracker.tracker.last)


@pytest.mark.long
def test_steps_are_those_of_the_optimizer_and_a_training_that_resumes_appends(tmp_path):
    """Two batches a step, three steps an epoch. The first run is cut off after step 5."""
    path, settings = tmp_path / "a.csv", {"accumulate_grad_batches": 2}
    checkpoint = str(tmp_path / "3.ckpt")
    save = after(3, lambda trainer, module: trainer.save_checkpoint(checkpoint))
    trained(callback(path, every=2), save, max_steps=5, **settings)
    assert steps(path) == [0, 2, 4]
    trained(callback(path, every=2), max_steps=6, resume=checkpoint, **settings)
    assert steps(path) == [0, 2, 4, 6]


@pytest.mark.long
def test_mixed_precision_leaves_the_measure_in_float64(tmp_path):
    found = []
    for name, precision in (("a.csv", "32-true"), ("b.csv", "bf16-mixed")):
        tracker = callback(tmp_path / name)
        model = trained(tracker, max_steps=1, precision=precision)
        assert model.autocast == [precision == "bf16-mixed"]
        found += [tracker.tracker.last.value]
    assert found[0] == found[1]


@pytest.mark.long
def test_the_example_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    (code,) = (b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "training.light" in b)
    x_probe, y_probe = probe()
    loader = DataLoader(TensorDataset(x_probe, y_probe), batch_size=5)
    given = {"x_probe": x_probe, "y_probe": y_probe, "module": network(), "loader": loader}
    settings = {"accelerator": "cpu", "enable_checkpointing": False, "enable_progress_bar": False}
    scope = given | {"settings": settings | {"logger": False, "enable_model_summary": False}}
    exec(code, scope)
    assert steps(tmp_path / "igs.csv") == [0, 100, 200]
    assert scope["callback"].tracker.last.value == float(rows(tmp_path / "igs.csv")[2]["value"])


def test_the_main_process_alone_measures_and_writes(tmp_path, monkeypatch):
    fitting, tracker = trainer(), callback(tmp_path / "a.csv")
    for main in (False, True):
        monkeypatch.setattr(type(fitting), "is_global_zero", main)
        tracker.on_train_start(fitting, network())
        assert (tracker.tracker is not None) == (tmp_path / "a.csv").exists() == main


@pytest.mark.parametrize("name", ["FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"])
def test_strategies_that_shard_are_refused_in_every_process(name, lightning, tmp_path, monkeypatch):
    fitting, kind = trainer(), getattr(lightning.strategies, name)
    monkeypatch.setattr(type(fitting), "is_global_zero", False)
    monkeypatch.setattr(type(fitting), "strategy", kind.__new__(kind))  # of no library, no GPU
    with pytest.raises(ValueError, match=f"strategy must leave whole weights .*; got {name}"):
        callback(tmp_path / "a.csv").on_train_start(fitting, network())


def test_lightning_is_asked_for_by_this_module_alone(monkeypatch):
    monkeypatch.setattr(igsref, "training", igsref.training)  # what is imported anew goes again
    for name in [name for name in sys.modules if name.startswith("igsref.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    importlib.import_module("igsref.training")
    with pytest.raises(ImportError, match=r"pip install 'igsref\[lightning\]'"):
        importlib.import_module("igsref.training.lightning")
