"""A model and data by their names, for the length of a command, and errors in a sentence."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from igsref.cli.given import given


def test_model_and_data_are_there_inside_and_the_path_is_as_before(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(folder)])
    before = list(sys.path)
    with given("measure", "nets:small", "nets:pair", None, False) as (model, (x, y), _):
        assert not model.training
        assert model(x).shape == (len(y), 3)
        assert sys.path[0] == str(folder)
    assert sys.path == before


def test_weights_are_loaded(folder):
    nets = __import__("nets")
    weights = {name: value + 1 for name, value in nets.small().state_dict().items()}
    torch.save(weights, folder / "w.pt")
    with given("measure", "nets:small", "nets:pair", Path("w.pt"), False) as (model, _, _):
        assert torch.equal(model.state_dict()["0.weight"], weights["0.weight"])


def test_options_are_those_of_a_problem(folder):
    np.savez(folder / "pool.npz", x=np.eye(4))
    said = {"fisher_data": "pool.npz", "parameters": ["2.*"], "likelihood": "bernoulli"}
    with given("plan", "nets:small", "nets:pair", None, False, **said) as (_, _, options):
        assert options.pop("fisher_data").equal(torch.eye(4, dtype=torch.float64))
        assert options == {"parameters": ["2.*"], "likelihood": "bernoulli", "logits": None}
    with given("plan", "nets:small", "nets:pair", None, False) as (_, _, options):
        assert set(options.values()) == {None}


@pytest.mark.parametrize(("said", "taken"), [("1", 1), ("-1", -1), ("logits", "logits")])
def test_logits_are_an_index_where_they_are_a_number(folder, said, taken):
    with given("plan", "nets:small", "nets:pair", None, False, logits=said) as (_, _, options):
        assert options["logits"] == taken


def test_weights_that_nobody_gave_are_said_once_all_is_there(folder, capsys):
    with given("measure", "nets:small", "nets:pair", None, False):
        said = capsys.readouterr().err
        assert said.startswith("igsref measure: no --weights are given: ")
        assert said.count("\n") == 1
    with pytest.raises(typer.Exit), given("measure", "nets:small", "absent.npz", None, False):
        pass
    assert capsys.readouterr().err == "igsref measure: there is no file absent.npz\n"


def test_what_a_user_s_module_prints_is_beside_the_output(folder, capsys):
    nets = __import__("nets")
    nets.loud = lambda: print("a word") or nets.small()
    with given("measure", "nets:loud", "nets:pair", None, False):
        print("a number")
    captured = capsys.readouterr()
    assert captured.out == "a number\n"
    assert captured.err.startswith("a word\n")


def test_an_error_inside_is_a_sentence_with_the_command(folder, capsys):
    with (
        pytest.raises(typer.Exit) as ended,
        given("report", "nets:net", "nets:pair", None, False),
    ):
        raise ValueError("tolerance must be positive")
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == "igsref report: tolerance must be positive\n"
    with (
        pytest.raises(ValueError, match="positive"),
        given("report", "nets:net", "nets:pair", None, True),
    ):
        raise ValueError("tolerance must be positive")


def test_keyword_inputs_that_the_model_does_not_take_are_named(folder, capsys):
    np.savez(folder / "images.npz", images=np.eye(4), labels=np.zeros(4, int))
    with pytest.raises(typer.Exit), given("plan", "nets:net", "images.npz", None, False):
        pass
    assert capsys.readouterr().err.endswith(
        "images.npz must hold inputs as x (or inputs) and labels as y (or labels), or inputs by "
        "the names of Sequential.forward, input; its inputs are images\n"
    )
