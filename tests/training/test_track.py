"""What is tracked is the measure, and training is as if nobody looked."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import igsref
from igsref.randomness import advance_random_state
from igsref.training import Tracker
from igsref.training.track import SCALARS
from tests.random_states import states
from tests.strategies import classes, gaussian
from tests.training.tracking import rows, steps


def network():
    torch.manual_seed(0)
    layers = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    return nn.Sequential(*layers)


def probe():
    return gaussian(1, 10, 3).float(), classes(2, 10, 3)


def trained(steps, tracker_of=None):
    """A network after some steps, with the tracker that was made of it."""
    model, (x, y) = network(), probe()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    tracker = tracker_of(model) if tracker_of else None
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        if tracker:
            tracker()
        optimizer.step()
    return model, tracker


def test_weights_gradients_and_random_states_are_those_of_a_training_without(tmp_path):
    plain, _ = trained(5)
    before = states()
    seen, tracker = trained(5, lambda m: Tracker(m, probe(), tmp_path / "a.csv", every=2))
    assert tracker.step == 4  # of the last call
    pairs = zip(plain.state_dict().items(), seen.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)
    gradients = zip(plain.parameters(), seen.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in gradients)
    assert seen.training
    assert states() == before


def test_a_measure_that_draws_leaves_random_states(tmp_path, monkeypatch):
    tracker = Tracker(network(), probe(), tmp_path / "a.csv")

    def drawing(*arguments, **options):
        advance_random_state()
        return igsref.igs(*arguments, **options)

    monkeypatch.setattr("igsref.training.track.igs", drawing)
    before = states()
    assert tracker() is not None
    assert states() == before


def test_rows_are_what_the_measure_says(tmp_path):
    model, tracker = trained(3, lambda m: Tracker(m, probe(), tmp_path / "a.csv", every=2))
    found = rows(tmp_path / "a.csv")
    assert [row["step"] for row in found] == ["0", "2"]
    assert tracker() is None  # step 3
    result = tracker(18)
    assert tracker() is None  # step 19
    expected = igsref.igs(model.eval(), probe())
    row = rows(tmp_path / "a.csv")[-1]
    assert row["step"] == "18"
    for name in SCALARS:
        assert float(row[name]) == float(getattr(expected, name)) == getattr(result, name)
    assert (row["grade"], row["method"], row["problem"]) == (expected.grade, "dense", "")
    assert float(row["seconds"]) >= 0
    assert tracker.last is result


def test_options_are_those_of_the_measure(tmp_path):
    x, _ = probe()
    model, y = network().eval(), gaussian(3, 10, 3)
    tracker = Tracker(model, (x, y), tmp_path / "a.csv", likelihood="gaussian", parameters="4.*")
    expected = igsref.igs(model, (x, y), likelihood="gaussian", parameters="4.*")
    assert tracker().value == expected.value


def test_a_writer_gets_the_numbers_too(tmp_path):
    class Writer:
        def __init__(self):
            self.seen = {}

        def add_scalar(self, tag, scalar_value, global_step):
            self.seen[tag, global_step] = scalar_value

    writer = Writer()
    tracker = Tracker(network().eval(), probe(), tmp_path / "a.csv", writer=writer)
    result = tracker(500)
    assert writer.seen == {(f"igs/{name}", 500): float(getattr(result, name)) for name in SCALARS}


def test_what_cannot_be_measured_is_said_once_and_training_goes_on(tmp_path):
    model = network()
    tracker = Tracker(model, probe(), tmp_path / "a.csv", every=1)
    model[0].weight.data[0, 0] = float("nan")
    with pytest.warns(RuntimeWarning, match="step 0 was not measured: .*finite"):
        assert tracker() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tracker() is None
    model[0].weight.data.fill_(0.1)
    assert tracker() is not None
    found = rows(tmp_path / "a.csv")
    assert [row["value"] == "" for row in found] == [True, True, False]
    assert "finite" in found[0]["problem"]


def test_a_full_device_does_not_end_a_training(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    tracker = Tracker(network(), probe(), tmp_path / "a.csv", every=1)
    monkeypatch.setattr("igsref.training.track.igs", full)
    with pytest.warns(RuntimeWarning, match="step 0 was not measured: CUDA out of memory"):
        assert tracker() is None


def tracked(path, start, stop, model=None):
    """Steps of a training, each with its call, as far as it gets."""
    tracker = Tracker(model or network().eval(), probe(), path, every=2, start=start)
    return [tracker() is not None for _ in range(start, stop + 1)]


def test_a_training_that_goes_on_continues_the_steps(tmp_path):
    path = tmp_path / "a.csv"
    tracked(path, 0, 5)
    before = path.read_bytes()
    assert tracked(path, 5, 8) == [False, True, False, True]
    assert steps(path) == [0, 2, 4, 6, 8]
    assert path.read_bytes().startswith(before)
    assert tracked(path, 8, 10) == [False, False, True]  # step 8 has its row
    assert steps(path) == [0, 2, 4, 6, 8, 10]


def test_rows_beyond_a_checkpoint_are_those_of_the_training_that_goes_on(tmp_path):
    """The first run is cut off after step 7, and goes on from step 3 with other weights."""
    path, other = tmp_path / "a.csv", network().eval()
    tracked(path, 0, 7)
    first = rows(path)
    torch.nn.init.zeros_(other[4].weight)
    tracked(path, 3, 8, other)
    found = rows(path)
    assert found[:2] == first[:2]
    assert steps(path) == [0, 2, 4, 6, 8]
    assert float(found[2]["loss"]) == float(igsref.igs(other, probe()).loss)
    assert found[2]["loss"] != first[2]["loss"]


def test_a_training_that_begins_is_refused_the_file_of_another(tmp_path):
    path = tmp_path / "a.csv"
    tracked(path, 0, 4)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"at step 0; .*a\.csv has rows of another one, up to step 4\. Delete it"
    ):
        tracked(path, 0, 4)
    assert path.read_bytes() == before


def test_one_that_got_no_further_than_step_0_may_begin_again(tmp_path):
    path, other = tmp_path / "a.csv", network().eval()
    tracked(path, 0, 1)
    torch.nn.init.zeros_(other[4].weight)
    assert tracked(path, 0, 2, other) == [True, False, True]
    assert steps(path) == [0, 2]
    assert float(rows(path)[0]["loss"]) == float(igsref.igs(other, probe()).loss)


def test_steps_only_rise(tmp_path):
    tracker = Tracker(network().eval(), probe(), tmp_path / "a.csv", start=3)
    for low in (2, 3):
        if low == 3:
            tracker()
        with pytest.raises(ValueError, match=f"step must be at least {low + 1}; got {low}"):
            tracker(low)
    assert tracker.step == 3


@pytest.mark.parametrize("row", ["7,0.1", "seven" + 13 * ","])
def test_rows_that_are_none_are_said(row, tmp_path):
    path = tmp_path / "a.csv"
    tracked(path, 0, 1)
    with path.open("a", encoding="utf-8") as file:
        file.write(row)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="rows are whole and have steps"):
        tracked(path, 3, 4)
    assert path.read_bytes() == before


def test_a_file_with_other_columns_is_refused_and_stays(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="path must be a new file, or one with the columns step,"):
        Tracker(network(), probe(), path)
    assert path.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every must be at least 1"),
        ({"start": -1}, "start must be at least 0"),
        ({"max_seconds": 0.0}, "max_seconds must be finite and positive"),
        ({"likelihood": "poisson"}, "likelihood must be one of"),
        ({"data": iter([probe()])}, "data is an iterator that can be read only once, and Tracker"),
        ({"data": (probe()[0], probe()[1] + 7)}, "labels"),
    ],
)
def test_bad_settings_are_named(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Tracker(network(), path=tmp_path / "a.csv", **{"data": probe(), **settings})
    assert not (tmp_path / "a.csv").exists()
