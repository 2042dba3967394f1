"""A model and data by their names, for the length of a command, and errors in a sentence."""

import sys
from pathlib import Path

import pytest
import torch
import typer

from igsref.cli.given import given


def test_model_and_data_are_there_inside_and_the_path_is_as_before(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(folder)])
    before = list(sys.path)
    with given("measure", "nets:small", "nets:pair", None, False) as (model, (x, y)):
        assert not model.training
        assert model(x).shape == (len(y), 3)
        assert sys.path[0] == str(folder)
    assert sys.path == before


def test_weights_are_loaded(folder):
    nets = __import__("nets")
    weights = {name: value + 1 for name, value in nets.small().state_dict().items()}
    torch.save(weights, folder / "w.pt")
    with given("measure", "nets:small", "nets:pair", Path("w.pt"), False) as (model, _):
        assert torch.equal(model.state_dict()["0.weight"], weights["0.weight"])


def test_an_error_inside_is_a_sentence_with_the_command(folder, capsys):
    with (
        pytest.raises(typer.Exit) as ended,
        given("report", "nets:small", "nets:pair", None, False),
    ):
        raise ValueError("tolerance must be positive")
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == "igsref report: tolerance must be positive\n"
    with (
        pytest.raises(ValueError, match="positive"),
        given("report", "nets:small", "nets:pair", None, True),
    ):
        raise ValueError("tolerance must be positive")
