"""ρ is chosen without test images, and runs are kept."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from experiments import table1
from experiments.data import random_images
from experiments.methods import METHODS, Outcome, Pace, Trial
from experiments.studies import ROWS, in_text, study_of
from experiments.table1 import best_rho, main, split_off

SMALL = ["--row", "synthetic", "--method", "SAM", "--seeds", "2", "--epochs", "1"]


@pytest.fixture
def one_process(monkeypatch):
    monkeypatch.setattr(table1, "workers", ThreadPoolExecutor)


def outcome(accuracy, seconds=1.0, ended=""):
    return Outcome(accuracy, 0.1, 0.1, seconds, ended)


def trials_of(method):
    return [
        Trial("3fcn", method, rho, seed, 1)
        for rho in METHODS[method].rhos
        for seed in table1.CHOOSING_SEEDS
    ]


def test_a_row_is_run_and_printed_and_kept(one_process, tmp_path, capsys, monkeypatch):
    arguments = [*SMALL, "--smoothing", "0.1", "--output", str(tmp_path)]
    main(arguments)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].startswith("synthetic: 3fcn on 200 images of synthetic, 1 epochs, label smooth")
    assert lines[0].endswith("ρ chosen")
    assert [line.split()[0] for line in lines[2:4]] == ["SGD", "SAM"]
    assert [line.replace(" * ", " ").split()[2] for line in lines[2:4]] == ["2", "2"]
    files = sorted(path.name for path in (tmp_path / "synthetic" / "choosing").iterdir())
    assert len(files) == 5 * 2
    settings = json.loads((tmp_path / "synthetic" / "choosing" / files[0]).read_text())["settings"]
    assert settings["smoothing"] == 0.1
    monkeypatch.setattr(table1, "run", lambda *_: pytest.fail("trained again"))
    main(arguments)
    assert capsys.readouterr().out == printed


def test_other_settings_are_refused_and_nothing_is_lost(one_process, tmp_path, capsys):
    arguments = [*SMALL, "--smoothing", "0", "--rho", "usual", "--output", str(tmp_path)]
    main(arguments)
    before = {path: path.read_text() for path in tmp_path.rglob("*.json")}
    with pytest.raises(SystemExit, match=r"was made with epochs 1, not 2: give .* with --output"):
        main([*arguments, "--epochs", "2"])
    assert {path: path.read_text() for path in tmp_path.rglob("*.json")} == before


def test_test_images_take_no_part_in_choosing(one_process, tmp_path, monkeypatch):
    seen = []
    true = table1.run

    def watched(made, train, held_out, **rest):
        seen.append((made.seed in table1.CHOOSING_SEEDS, len(train), held_out.name))
        return true(made, train, held_out, **rest)

    monkeypatch.setattr(table1, "run", watched)
    main([*SMALL, "--smoothing", "0", "--output", str(tmp_path)])
    choosing = {rest for own, *rest in seen if own for rest in [tuple(rest)]}
    testing = {rest for own, *rest in seen if not own for rest in [tuple(rest)]}
    assert choosing == {(160, "synthetic, seed 0")}
    assert testing == {(200, "synthetic, seed 1")}


def test_the_usual_radius_is_taken_without_a_choice(one_process, tmp_path, capsys):
    main([*SMALL, "--smoothing", "0", "--rho", "usual", "--output", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("ρ usual")
    assert [line.split()[1] for line in printed[2:4]] == ["0", "0.05"]
    assert [path.name for path in (tmp_path / "synthetic").iterdir()] == ["test"]


def test_the_summary_is_what_was_printed(one_process, tmp_path, capsys):
    arguments = ["--row", "synthetic", "--seeds", "1", "--epochs", "1", "--smoothing", "0.1"]
    main([*arguments, "--rho", "usual", "--output", str(tmp_path)])
    summary = tmp_path / "synthetic" / "table1-synthetic-0.1.json"
    assert in_text(study_of(json.loads(summary.read_text()))) in capsys.readouterr().out


def test_usual_radii_are_the_published_ones():
    assert {name: method.usual for name, method in METHODS.items()} == {
        "SGD": 0,
        "GR": 0.01,
        "SAM": 0.05,
        "ASAM": 0.5,
        "IGS": 0.02,
    }


def test_how_long_all_runs_take_follows_from_the_pace(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(table1, "pace", lambda made, *_: Pace(3.0, 0.5))
    main([*SMALL, "--pace", "--output", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    # 200 images in batches of 128: two steps, 3.5 s; two seeds, and ten choices of ρ for SAM.
    assert [line.split()[-1] for line in lines[1:3]] == ["7", "42"]
    assert lines[3].startswith("together 49 s")
    assert not list(tmp_path.iterdir())


def test_images_are_read_once(monkeypatch):
    reads = []
    true = table1.random_images
    monkeypatch.setattr(table1, "random_images", lambda *a, **k: reads.append(a) or true(*a, **k))
    table1._images.cache_clear()
    row = ROWS["synthetic"]
    assert table1.images(row, "train") is table1.images(row, "train")
    assert table1.images(row, "test") is not table1.images(row, "train")
    assert len(reads) == 2


def test_a_table_of_some_methods_takes_no_other_s_place(one_process, tmp_path, monkeypatch):
    arguments = ["--row", "synthetic", "--seeds", "1", "--epochs", "1", "--smoothing", "0"]
    arguments += ["--rho", "usual", "--output", str(tmp_path)]
    summary = tmp_path / "synthetic" / "table1-synthetic-0.json"
    main([*arguments, "--method", "SAM"])
    assert not summary.exists()
    main(arguments)
    before = summary.read_text()
    main([*arguments, "--method", "SAM"])
    assert summary.read_text() == before


def test_a_method_that_never_trains_ends_its_table_alone(
    one_process, tmp_path, monkeypatch, capsys
):
    def some(made, *_, **__):
        lost = made.smoothing == 0 and made.method == "SAM"
        return outcome(float("nan") if lost else 0.5, ended="lost" if lost else "")

    monkeypatch.setattr(table1, "run", some)
    main([*SMALL, "--output", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("synthetic, label smoothing 0: SAM ended early with every ρ of")
    assert any("label smoothing 0.1, ρ chosen" in line for line in lines)


def test_a_device_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--row", "synthetic", "--device", "nowhere"])
    assert "--device must be one that is there; got nowhere" in capsys.readouterr().err


def test_what_is_held_out_is_a_fifth_and_apart():
    data = random_images(0, 50)
    train, held_out = split_off(data, 1)
    assert (len(train), len(held_out)) == (40, 10)
    everything = sorted(float(x.sum()) for part in (train, held_out) for x in part.images)
    assert everything == sorted(float(x.sum()) for x in data.images)


def test_the_radius_is_the_best_in_the_mean_and_none_that_ended_early():
    trials, rhos = trials_of("SAM"), METHODS["SAM"].rhos
    accuracies = {rhos[0]: (0.9, 0.5), rhos[1]: (0.8, 0.75), rhos[2]: (0.99, float("nan"))}
    outcomes = [
        outcome(accuracies.get(t.rho, (0.1, 0.1))[table1.CHOOSING_SEEDS.index(t.seed)])
        for t in trials
    ]
    assert best_rho("SAM", trials, outcomes) == rhos[1]
    assert best_rho("SGD", trials, outcomes) == 0.0
    with pytest.raises(FloatingPointError, match=r"SAM ended early with every ρ of \(0\.01"):
        best_rho("SAM", trials, [outcome(float("nan"))] * len(trials))


@pytest.mark.parametrize("name", ["seeds", "processes", "epochs"])
def test_numbers_that_cannot_be_are_refused_by_name(name, capsys):
    with pytest.raises(SystemExit):
        main([f"--{name}", "0"])
    assert f"--{name} must be at least 1; got 0" in capsys.readouterr().err


def test_absent_data_is_said_in_a_line(monkeypatch, tmp_path):
    monkeypatch.setenv("IGSREF_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^cifar100: looked for "):
        main(["--row", "cifar100-wrn16-8", "--output", str(tmp_path / "out")])
