"""Parts are measured once, kept, summed up and drawn."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from matplotlib.figure import Figure

import igsref
from experiments import correlation
from experiments.controls import SETTINGS
from experiments.correlation import main
from experiments.findings import BASELINES, finding_of, in_text
from experiments.populations import FREE
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
        ("controls", "CHOOSING", 500),
        ("controls", "REPEATS", 2),
    ]:
        patch.setattr(f"experiments.{module}.{name}", value)


def test_every_network_is_kept_and_the_figure_drawn(run):
    names = sorted(path.name for path in run.iterdir())
    parts = ("control", "epochs", "equal-training-loss")
    expected = [f"{part}-{number}.json" for part in parts for number in range(5)]
    assert names == sorted([*expected, "figure3-synthetic.png", "figure3-synthetic.json"])
    stored = json.loads((run / "epochs-0.json").read_text())
    assert stored["settings"]["network"].startswith("16-")
    assert {"IGS", "AIC", "training loss"} <= set(stored["result"]["measures"])


def test_the_summary_is_what_was_printed(run, capsys, monkeypatch):
    shrink(monkeypatch)
    main(["--data", "synthetic", "--quick", "--output", str(run)])
    printed = capsys.readouterr().out
    parts = json.loads((run / "figure3-synthetic.json").read_text())
    assert [part["part"] for part in parts] == list(correlation.PARTS)
    assert all(in_text(finding_of(part)) in printed for part in parts)


def test_the_figure_has_those_alone_that_reached_their_loss(tmp_path, monkeypatch):
    few = subjects(6, good=float)
    few[4] = dataclasses.replace(few[4], reached=False)
    monkeypatch.setattr(correlation, "population", lambda chosen, part: few)
    seen = {}
    monkeypatch.setattr(
        correlation, "picture", lambda ranked, shown: seen.update(shown) or Figure()
    )
    main(["--data", "synthetic", "--output", str(tmp_path)])
    assert all([s.gap for s in shown] == [1, 2, 3, 4, 6] for shown in seen.values())
    assert len(seen) == 3


def test_other_settings_are_refused(run, monkeypatch):
    shrink(monkeypatch)
    monkeypatch.setattr(correlation, "QUICK_TEST", 150)
    with pytest.raises(SystemExit, match=r"was made with test 200, not 150: give .* with --output"):
        main(["--data", "synthetic", "--quick", "--output", str(run), "--part", FREE])


def test_a_part_that_missed_its_loss_altogether_ends_in_a_line(tmp_path, monkeypatch):
    none = [dataclasses.replace(each, reached=False) for each in subjects(6)]
    monkeypatch.setattr(correlation, "population", lambda chosen, part: none)
    with pytest.raises(SystemExit, match=r"^control: none of 6 networks reached its training loss"):
        main(["--data", "synthetic", "--part", "control", "--output", str(tmp_path)])


def test_a_second_run_measures_nothing(run, monkeypatch, capsys):
    shrink(monkeypatch)
    for name in ("subject", "control"):
        monkeypatch.setattr(correlation, name, lambda *_: pytest.fail("measured again"))
    main(["--data", "synthetic", "--quick", "--output", str(run), "--part", "control"])
    printed = capsys.readouterr().out
    assert printed.startswith("control: 4 networks, 1 more missed their loss or a minimum")
    main(["--data", "synthetic", "--quick", "--output", str(run), "--part", FREE])
    printed = capsys.readouterr().out
    assert all(f"{name} *" in printed for name in BASELINES)


def test_absent_data_is_said_in_a_line(monkeypatch, tmp_path):
    monkeypatch.setenv("IGSREF_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^mnist: looked for .* in .*; there is n"):
        main(["--data", "mnist", "--quick", "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_number_of_processes_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["--processes", "0"])
    assert "--processes must be at least 1; got 0" in capsys.readouterr().err
