"""The script trains, measures and prints; a second run loads what the first has trained."""

import json

import pytest

import igsref
from experiments.cifar_igs import main

SMALL = ["--data", "synthetic", "--network", "lenet5", "--train", "40", "--epochs", "1"]


@pytest.mark.parametrize("route, method", [("auto", "dense"), ("krylov", "krylov")])
def test_prints_and_writes_a_result(route, method, tmp_path, capsys):
    arguments = [*SMALL, "--samples", "5", "--route", route, "--output", str(tmp_path)]
    main(arguments)
    printed = capsys.readouterr().out
    assert "lenet5 on 40 images of synthetic" in printed
    text = (tmp_path / "lenet5_igs.json").read_text(encoding="utf-8")
    result = igsref.Result.from_json(text)
    assert result.method == method
    assert result.num_samples == 5
    assert f"{result.value:.10g}" in printed
    main(arguments)
    again = json.loads((tmp_path / "lenet5_igs.json").read_text(encoding="utf-8"))
    assert again["value"] == result.value


def test_absent_data_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("IGSREF_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="cifar10"):
        main(["--samples", "5", "--train", "10", "--output", str(tmp_path)])


def test_more_samples_than_images_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--samples", "50", "--train", "10"])
    assert "--samples must lie in 1..10" in capsys.readouterr().err
