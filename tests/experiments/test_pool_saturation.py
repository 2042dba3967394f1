"""The script keeps what it has measured, says what it found, and which network fell short."""

import dataclasses

import pytest

from experiments import pool_saturation
from experiments.pool_saturation import QUICK, main
from experiments.pools import Point
from tests.experiments.pool_examples import row

SMALL = ["--data", "synthetic", "--quick", "--output"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    main([*SMALL, str(folder)])
    return folder


def refused(*_, **__):
    raise AssertionError("measured again")


def test_a_second_run_measures_nothing_and_prints_and_draws(run, monkeypatch, capsys):
    monkeypatch.setattr(pool_saturation, "measured", refused)
    monkeypatch.setattr(pool_saturation, "examined", refused)
    (run / "pool_at_scale.png").unlink()
    main([*SMALL, str(run)])
    assert (run / "pool_at_scale.png").stat().st_size > 0
    printed = capsys.readouterr().out
    assert "images: below 0.9 between 0.51 and 1.50" in printed
    assert "copies: below 0.9 at 1.50, the smallest" in printed
    assert "half of labels wrong" in printed
    assert "verified: " in printed
    assert "misses the target" not in printed


def test_what_other_settings_gave_is_neither_taken_nor_lost(run, monkeypatch):
    other = dataclasses.replace(QUICK.pools, seed=1)
    monkeypatch.setattr(pool_saturation, "QUICK", dataclasses.replace(QUICK, pools=other))
    monkeypatch.setattr(pool_saturation, "measured", refused)
    before = {path.name: path.read_text() for path in run.glob("*.json")}
    with pytest.raises(SystemExit, match=r"was made with seed 0, not 1: give .* with --output"):
        main([*SMALL, str(run), "--part", "pools"])
    assert {path.name: path.read_text() for path in run.glob("*.json")} == before


def test_a_network_that_misses_its_target_is_named(tmp_path, monkeypatch, capsys):
    short = dataclasses.replace(QUICK.pools, target=0.25, most_epochs=1)
    networks = {"short": short, "far": dataclasses.replace(short, target=9.0)}
    sizes = dataclasses.replace(QUICK, pools=short, networks=networks)
    monkeypatch.setattr(pool_saturation, "QUICK", sizes)

    def point(kind, *_, prove):
        return Point(kind, 1, 1, 1, 1, 1, 1.0, 1.0, 0.0)

    def network(name, trained, *_):
        numbers = [0.9, 0.5], [0.1, 1.0], [False, False]
        return row(*numbers, name=name, training_loss=trained.loss, epochs=trained.epochs)

    monkeypatch.setattr(pool_saturation, "measured", point)
    monkeypatch.setattr(pool_saturation, "examined", network)
    main([*SMALL, str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if "misses the target of 0.25" in line]
    assert [line.split(":")[0] for line in said] == ["cnn500", "short"]


def test_absent_data_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("IGSREF_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="cifar10"):
        main(["--output", str(tmp_path)])
