"""Parts are measured once, the table says what goes with the gap, and who missed the loss."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import igsref
from experiments import correlation
from experiments.controls import SETTINGS
from experiments.correlation import BASELINES, columns, main, ranking, reported
from experiments.populations import FREE, MATCHED
from tests.experiments.subjects import subjects


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A population of three networks of 20 images, and one setting of the control, in 2 repeats."""
    folder = tmp_path_factory.mktemp("correlation")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        main(["--data", "synthetic", "--quick", "--output", str(folder)])
    return folder


def shrink(patch):
    patch.setattr(correlation, "workers", lambda count: ThreadPoolExecutor(1))
    patch.setattr(correlation, "QUICK_NETWORKS", 5)
    patch.setattr(correlation, "SETTINGS", SETTINGS[:5])
    few = ["IGS", "IGS ceiling", "training loss", "AIC", "gradient norm"]
    patch.setattr(igsref, "compare", partial(igsref.compare, measures=few))
    for module, name, value in [
        ("correlation", "IMAGES", 20),
        ("populations", "IMAGES", 20),
        ("populations", "WIDTHS", (2, 3)),
        ("populations", "EPOCHS", (2, 4)),
        ("populations", "MOST_EPOCHS", 6),
        ("populations", "TARGET", 2.2),
        ("controls", "FRESH", 500),
        ("controls", "REPEATS", 1),
    ]:
        patch.setattr(f"experiments.{module}.{name}", value)


def test_every_network_is_kept_and_the_figure_drawn(run):
    names = sorted(path.name for path in run.iterdir())
    parts = ("control", "epochs", "equal-training-loss")
    expected = [f"{part}-{number}.json" for part in parts for number in range(5)]
    assert names == sorted([*expected, "correlation.png"])
    stored = json.loads((run / "epochs-0.json").read_text())
    assert stored["settings"][0]["network"].startswith("16-")
    assert {"IGS", "AIC", "training loss"} <= set(stored["result"]["measures"])


def test_a_second_run_measures_nothing(run, monkeypatch, capsys):
    shrink(monkeypatch)
    for name in ("subject", "control"):
        monkeypatch.setattr(correlation, name, lambda *_: pytest.fail("measured again"))
    main(["--data", "synthetic", "--quick", "--output", str(run), "--part", "control"])
    printed = capsys.readouterr().out
    assert printed.startswith("control: 5 networks, m = 24 to")
    main(["--data", "synthetic", "--quick", "--output", str(run), "--part", FREE])
    printed = capsys.readouterr().out
    assert all(f"{name} *" in printed for name in BASELINES)


def test_the_strongest_measure_comes_first_and_baselines_are_marked(capsys):
    found = subjects(8, good=lambda gap: gap**3, bad=lambda gap: 1.0)
    ranked = reported("part", found)
    assert list(ranked) == ["−training loss", "IGS", "good", "bad"]  # all but the last are ±1
    assert ranked["good"]["Spearman"].value == pytest.approx(1)
    assert ranked["bad"] == dict.fromkeys(ranked["bad"], None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("part: 8 networks, m = 10 to 17; training loss 0.1 to 0.8, gap 1 to")
    assert "+1.00 [+1.00, +1.00]" in next(line for line in lines if line.startswith("good"))
    assert next(line for line in lines if line.startswith("bad")).split()[1:] == ["–"] * 4
    assert any(line.startswith("−training loss *") for line in lines)


def test_the_training_loss_has_its_sign_changed():
    found = columns(subjects(6, good=float))
    assert found["−training loss"] == pytest.approx([-0.1, -0.2, -0.3, -0.4, -0.5, -0.6])
    assert "training loss" not in found
    gaps = [each.gap for each in subjects(6, good=float)]
    assert ranking(subjects(6, good=float), gaps)["−training loss"]["Spearman"].value < -0.99


def test_networks_that_missed_their_loss_are_left_out(capsys):
    found = subjects(8, good=float)
    found[2] = dataclasses.replace(found[2], reached=False)
    reported(MATCHED, found)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{MATCHED}: 1 networks missed their loss and are left out\n")
    assert f"{MATCHED}: 7 networks" in printed


def test_absent_data_is_said_in_a_line(monkeypatch, tmp_path):
    monkeypatch.setenv("IGSREF_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^mnist: looked for .* in .*; there is n"):
        main(["--data", "mnist", "--quick", "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_number_of_processes_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["--processes", "0"])
    assert "--processes must be at least 1; got 0" in capsys.readouterr().err
