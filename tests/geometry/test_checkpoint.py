"""What is saved comes back bit for bit, and nothing else comes back at all."""

import json
import math
import os
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from igsref import as_problem
from igsref.geometry import checkpoint as module
from igsref.geometry.checkpoint import (
    Checkpoint,
    CheckpointError,
    kept_setting,
    problem_fingerprint,
)
from igsref.geometry.krylov import KrylovState, Step
from igsref.linalg.krylov import KrylovSpace
from tests.strategies import classes, fill_, gaussian

CPU = torch.device("cpu")
FINGERPRINT = {"parameters": "0123456789abcdef", "inputs": "fedcba9876543210"}
SETTINGS = {"heaviest": 3, "seed": 0, "dtype": "torch.float32"}


def state(dimension=4, frontier=2, seed=0):
    """Numbers that no decimal form holds, −0.0, NaN and a subnormal among them."""
    basis = gaussian(seed, 7, dimension) / 3
    images = gaussian(seed + 1, 6, dimension) / 3
    if dimension:
        images[:4, 0] = torch.tensor([-0.0, math.nan, 5e-324, math.inf])
    space = KrylovSpace(basis, images, gaussian(seed + 2, 7, frontier))
    steps = (
        Step(0, 5, 0.1 + 0.2, 1 / 3, math.inf, False),
        Step(1, 10, 1e-300, -0.0, 2.0**-1074, True),
    )
    return KrylovState(space, dimension % 2 == 0, steps[: dimension // 2])


def kept(path, **settings):
    return Checkpoint(path, FINGERPRINT, {**SETTINGS, **settings})


def assert_same(found, expected):
    for name in ("basis", "images", "frontier"):
        ours, theirs = getattr(found.space, name), getattr(expected.space, name)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name
        assert torch.equal(ours.view(torch.int64), theirs.view(torch.int64)), name
    assert repr(found.steps) == repr(expected.steps)
    assert found.weighted is expected.weighted


@pytest.mark.parametrize(("dimension", "frontier"), [(4, 2), (0, 3), (3, 0), (0, 0)])
def test_a_state_comes_back_bit_for_bit(tmp_path, dimension, frontier):
    expected, path = state(dimension, frontier), tmp_path / "run"
    kept(path).save(expected)
    assert_same(kept(path).load(CPU), expected)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_state_that_came_from_a_file_can_be_saved_to_it(tmp_path):
    path = tmp_path / "run"
    kept(path).save(state())
    loaded = kept(path).load(CPU)
    kept(path).save(loaded)
    assert_same(loaded, state())
    assert_same(kept(path).load(CPU), state())


def test_tensors_may_be_views(tmp_path):
    whole, expected = gaussian(0, 9, 14), state()
    space = KrylovSpace(whole[:7, :4], whole[:6, 4:8], whole[:7].mT[:2].mT)
    kept(tmp_path / "run").save(replace(expected, space=space))
    found = kept(tmp_path / "run").load(CPU)
    assert torch.equal(found.space.basis, whole[:7, :4])
    assert torch.equal(found.space.frontier, whole[:7, :2])


def test_where_there_is_no_file_there_is_no_state(tmp_path):
    assert kept(tmp_path / "run").load(CPU) is None
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_a_folder_is_in_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Checkpoint(module.Path("run"), FINGERPRINT, SETTINGS).save(state())
    assert (tmp_path / "run").is_file()


@pytest.mark.parametrize("name", ["", "missing/run"])
def test_a_folder_and_a_name_in_none_are_refused(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(CheckpointError, match="must name a file in a folder; got") as error:
        kept(path)
    assert str(path) in str(error.value)


def network():
    """Parameters, a running mean, and a buffer of whole numbers."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)).double()
    model.register_buffer("order", torch.tensor([2, 0, 1]))
    return fill_(model, 0).eval()


def problem(model=None, **changed):
    data = {"x": gaussian(1, 5, 3), "y": classes(2, 5, 3), **changed}
    x, y = data.pop("x"), data.pop("y")
    return as_problem(network() if model is None else model, (x, y), **data)


def next_float(value, *index):
    """The same with one entry moved in its last place."""
    out = value.detach().clone()
    out[index] = torch.nextafter(out[index], torch.tensor(math.inf).to(out))
    return out


def moved(name):
    """The network with the first entry of a parameter or buffer moved in its last place."""
    model = network()
    value = model.state_dict()[name]
    first = (0,) * value.ndim
    with torch.no_grad():
        value.copy_(next_float(value, *first) if value.is_floating_point() else value.flip(0))
    return model


def tanh():
    """The network with another activation, and nothing else."""
    model = network()
    model[2] = nn.Tanh()
    return model


def pooled(*members):
    """Two samples of class 0, of a pool of five."""
    pool = gaussian(1, 5, 3)
    rows = torch.tensor(members)
    return problem(x=pool[rows], y=torch.tensor([0, 0]), fisher_data=pool, members=rows)


BEFORE = {
    "inputs, a sign of 0": lambda: problem(x=torch.zeros(5, 3).double()),
    "labels, other members": lambda: pooled(0, 1),
}
CHANGES = {
    "layers": lambda: problem(tanh()),
    "parameters": lambda: problem(moved("3.weight")),
    "parameters, chosen": lambda: problem(parameters="3.*"),
    "constants": lambda: problem(moved("1.running_mean")),
    "constants, whole numbers": lambda: problem(moved("order")),
    "inputs": lambda: problem(x=next_float(gaussian(1, 5, 3), 4, 2)),
    "inputs, a sign of 0": lambda: problem(x=-torch.zeros(5, 3).double()),
    "inputs, a pool": lambda: problem(fisher_data=gaussian(3, 2, 3)),
    "labels": lambda: problem(y=classes(2, 5, 3).roll(1)),
    "labels, other members": lambda: pooled(2, 3),
    "likelihood": lambda: problem(y=torch.eye(3)[classes(2, 5, 3)], likelihood="gaussian"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_of_another_problem_is_refused_and_what_differs_is_told(tmp_path, change):
    name = change.split(",")[0]
    path, here = tmp_path / "run", BEFORE.get(change, problem)()
    Checkpoint(path, problem_fingerprint(here), SETTINGS).save(state())
    assert Checkpoint(path, problem_fingerprint(here), SETTINGS).load(CPU) is not None
    other = problem_fingerprint(CHANGES[change]())
    told = rf"run is the checkpoint of another run: .*{name}: \S+ there, \S+ here"
    with pytest.raises(CheckpointError, match=told) as error:
        Checkpoint(path, other, SETTINGS).load(CPU)
    same = {key for key in other if other[key] == problem_fingerprint(here)[key]}
    assert not any(f"{key}: " in str(error.value) for key in same)
    assert "settings" not in str(error.value)


def test_the_same_problem_made_again_has_the_same_fingerprint():
    assert problem_fingerprint(problem()) == problem_fingerprint(problem())
    theta = {"a": gaussian(0, 2)}
    pair = as_problem(
        (lambda theta, x: theta["a"] * x, theta), (gaussian(1, 5, 2), classes(2, 5, 2))
    )
    assert set(problem_fingerprint(pair)) == set(problem_fingerprint(problem()))


def test_tensors_of_one_content_under_other_names_or_shapes_differ():
    a = gaussian(0, 2, 3)
    same = [module._digest([("a", a)]), module._digest([("a", a.clone())])]
    others = [
        module._digest([("b", a)]),
        module._digest([("a", a.view(3, 2))]),
        module._digest([("a", a.view(torch.int64))]),
        module._digest([("a", a[:1]), ("a", a[1:])]),
    ]
    assert len(set(same)) == 1
    assert len({*same, *others}) == 5
    assert module._digest([("n", torch.tensor(3))]) != module._digest([("n", torch.tensor(4))])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"heaviest": 4}, "heaviest: 3 there, 4 here"),
        ({"dtype": "torch.float64"}, "dtype: torch.float3 there, torch.float6 here"),
        ({"probes": 2}, "probes: None there, 2 here"),
        ({"heaviest": 4, "seed": 1}, "heaviest: 3 there, 4 here; seed: 0 there, 1 here"),
    ],
)
def test_a_run_with_other_settings_is_refused_and_what_differs_is_told(tmp_path, change, told):
    path = tmp_path / "run"
    kept(path).save(state())
    with pytest.raises(CheckpointError, match=f"run is the checkpoint of another run: {told}$"):
        kept(path, **change).load(CPU)


def test_a_setting_that_is_not_known_here_is_refused_too(tmp_path):
    path = tmp_path / "run"
    kept(path, weights="none").save(state())
    with pytest.raises(CheckpointError, match="weights: none there, None here"):
        kept(path).load(CPU)


def refused(path):
    """The message with which a file that is no checkpoint is refused; it names the file."""
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="is no whole checkpoint") as error:
        kept(path).load(CPU)
    assert str(path) in str(error.value)
    assert "give another name, or delete it" in str(error.value)
    assert path.read_bytes() == before
    return str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_refused(tmp_path, share):
    path = tmp_path / "run"
    kept(path).save(state())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "SafetensorError" in refused(path)


@pytest.mark.parametrize("place", [8, 200, 400])
def test_a_file_with_a_flipped_bit_among_its_numbers_is_refused(tmp_path, place):
    path = tmp_path / "run"
    kept(path).save(state())
    whole = bytearray(path.read_bytes())
    whole[-place] ^= 1
    path.write_bytes(whole)
    assert "not those that were written" in refused(path)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "run"
    path.write_bytes(pickle.dumps(Runs()))
    refused(path)
    torch.save(Runs(), path)
    refused(path)
    assert not (tmp_path / "ran").exists()


def rewritten(path, *, without=(), **header):
    """A checkpoint with another header, or without some of its tensors."""
    kept(path).save(state())
    with safe_open(path, framework="pt") as file:
        found = json.loads(file.metadata()[module._HEADER])
        tensors = {name: file.get_tensor(name) for name in set(file.keys()) - set(without)}
    save_file(tensors, path, {module._HEADER: json.dumps({**found, **header})})


@pytest.mark.parametrize(
    "header",
    [
        {"steps": [{"number": 1}]},
        {"steps": [{"surprise": 1}]},
        {"steps": 3},
        {"steps": ["x"]},
        {"problem": None},
        {"settings": 3},
    ],
)
def test_a_header_of_another_form_is_refused(tmp_path, header):
    rewritten(tmp_path / "run", **header)
    refused(tmp_path / "run")


@pytest.mark.parametrize("name", ["basis", "images", "frontier"])
def test_a_file_without_one_of_the_tensors_is_refused(tmp_path, name):
    rewritten(tmp_path / "run", without=[name])
    assert name in refused(tmp_path / "run")


@pytest.mark.parametrize(
    "metadata",
    [None, {"format": "pt"}, {module._HEADER: "{"}, {module._HEADER: "[]"}, {module._HEADER: "{}"}],
)
def test_a_safetensors_file_of_something_else_is_refused(tmp_path, metadata):
    path = tmp_path / "run"
    save_file({"basis": gaussian(0, 2, 2)}, path, metadata)
    refused(path)


@pytest.mark.parametrize("where", ["save_file", "replace"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_write_that_is_interrupted_leaves_the_old_file_whole(tmp_path, monkeypatch, where, error):
    path = tmp_path / "run"
    kept(path).save(state())
    whole = path.read_bytes()

    def interrupted(*arguments):
        if where == "save_file":
            module.Path(arguments[1]).write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(module if where == "save_file" else module.Path, where, interrupted)
    with pytest.raises(type(error)):
        kept(path).save(state(seed=9))
    monkeypatch.undo()
    assert path.read_bytes() == whole
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
    assert_same(kept(path).load(CPU), state())


class Clock:
    """Seconds that a test sets; each writing takes two."""

    def __init__(self, monkeypatch):
        self.now, self.writings = 1000.0, 0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(module, "save_file", self.write)

    def write(self, *arguments):
        self.now, self.writings = self.now + 2.0, self.writings + 1
        save_file(*arguments)


def test_writing_takes_a_tenth_of_the_time_at_most(tmp_path, monkeypatch):
    clock, run = Clock(monkeypatch), kept(tmp_path / "run")
    run.save(state())
    for wait, writings in ((0.0, 1), (19.9, 1), (0.1, 2), (0.0, 2), (20.0, 3)):
        clock.now += wait
        run.save(state(seed=clock.writings))
        assert clock.writings == writings
    # What is in the file is the last that was written, not the last that was offered.
    assert_same(kept(tmp_path / "run").load(CPU), state(seed=2))


def test_a_setting_can_be_asked_for_before_anything_is_made(tmp_path):
    path = tmp_path / "run"
    assert kept_setting(path, "dtype") is None
    Checkpoint(path, FINGERPRINT, SETTINGS).save(state())
    assert kept_setting(path, "dtype") == "torch.float32"
    assert kept_setting(path, "preconditioner") is None
    path.write_bytes(path.read_bytes()[:40])
    assert kept_setting(path, "dtype") is None
