"""What both frameworks' callbacks do, told of steps by hand."""

import csv

import pytest
import torch
from torch import nn

import igsref
from igsref.training.tracked_training import TrackedTraining
from tests.strategies import classes, gaussian

CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))


def probe():
    return gaussian(1, 6, 3).float(), classes(2, 6, 3)


def tracked(path, **settings):
    return TrackedTraining(probe(), path, **{"every": 3, **settings})


def steps(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def told(path, start, reached):
    training = tracked(path)
    training.begin(network(), start, CPU, main=True)
    for step in reached:
        training.reach(step)
    return training


def test_steps_that_k_divides_have_a_row_however_often_they_are_told(tmp_path):
    path = tmp_path / "a.csv"
    training = told(path, 0, [0, 0, 1, 1, 2, 2, 3, 3, 4, 6, 6])
    assert steps(path) == [0, 3, 6]
    assert training.tracker.last.value == igsref.igs(network(), probe()).value


def test_a_step_that_passes_within_a_batch_is_measured_after_it(tmp_path):
    told(tmp_path / "a.csv", 0, [2, 4, 6, 8, 10, 12])
    assert steps(tmp_path / "a.csv") == [0, 4, 6, 10, 12]


def test_a_training_that_resumes_continues_the_steps(tmp_path):
    path = tmp_path / "a.csv"
    told(path, 0, range(1, 8))
    told(path, 4, range(5, 7))  # from a checkpoint before its end
    assert steps(path) == [0, 3, 6]
    told(path, 6, range(7, 11))
    assert steps(path) == [0, 3, 6, 9]
    with pytest.raises(ValueError, match="has rows of another one, up to step 9"):
        told(path, 0, [])


@pytest.mark.parametrize(("start", "found"), [(4, []), (6, [6])])
def test_a_training_that_resumes_without_a_file_begins_one(start, found, tmp_path):
    told(tmp_path / "a.csv", start, [])
    assert steps(tmp_path / "a.csv") == found


def test_the_main_process_alone_measures_and_writes(tmp_path):
    training = tracked(tmp_path / "a.csv")
    training.begin(network(), 0, CPU, main=False)
    training.reach(3)
    assert training.tracker is None
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("mark", ["ds_id", "placements", "_fsdp_flattened"])
def test_sharded_parameters_are_refused_in_every_process(mark, tmp_path):
    model = network()
    setattr(model[2].bias, mark, ())
    with pytest.raises(ValueError, match=r"2\.bias is sharded"):
        tracked(tmp_path / "a.csv").begin(model, 0, CPU, main=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every must be at least 1"),
        ({"max_seconds": 0.0}, "max_seconds must be finite and positive"),
        ({"data": iter([probe()])}, "data is an iterator that can be read only once, and Tracked"),
    ],
)
def test_bad_settings_are_named_at_once(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        TrackedTraining(path=tmp_path / "a.csv", **{"data": probe(), **settings})
