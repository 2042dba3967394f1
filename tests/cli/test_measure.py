"""Each command prints what its function returns, as text or JSON, and exits by it."""

import json
import traceback

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import igsref
from igsref.cli import app

COMMANDS = ("plan", "measure", "compare", "certify")


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def given(folder):
    """(model, data) that the commands are given, in evaluation mode, data as a file too."""
    nets = __import__("nets")
    x, y = nets.pair
    np.savez(folder / "data.npz", x=x.numpy(), y=y.numpy())
    return nets.small().eval(), nets.pair


def test_plan_is_the_function_s(given):
    expected = igsref.plan(*given)
    assert run("plan", "nets:small", "data.npz").stdout == f"{expected}\n"
    found = json.loads(run("plan", "nets:small", "data.npz", "--json").stdout)
    assert found["bytes_needed"] == expected.bytes_needed
    assert found["fits"] is True
    short = run("plan", "nets:small", "data.npz", "--memory", "1000")
    assert "does NOT fit" in short.stdout


def test_measure_is_the_function_s(given, folder):
    expected = igsref.igs(*given)
    result = run("measure", "nets:small", "data.npz")
    assert result.exit_code == 0
    assert result.stdout == f"{expected}\n"
    found = igsref.Result.from_json(run("measure", "nets:small", "nets:pair", "--json").stdout)
    assert found == expected


def test_weights_and_likelihood_are_taken(given, folder):
    model, (x, _) = given
    with torch.no_grad():
        model[0].weight.mul_(2)
    torch.save(model.state_dict(), folder / "w.pt")
    y = x[:, :3]
    np.savez(folder / "real.npz", x=x.numpy(), y=y.numpy())
    expected = igsref.igs(model, (x, y), likelihood="gaussian")
    options = ("--weights", "w.pt", "--likelihood", "gaussian", "--json")
    found = igsref.Result.from_json(run("measure", "nets:small", "real.npz", *options).stdout)
    assert found == expected


def test_compare_is_the_function_s(given):
    options = ("--measure", "IGS", "--measure", "AIC")
    expected = igsref.compare(*given, measures=["IGS", "AIC"])
    assert run("compare", "nets:small", "data.npz", *options).stdout == f"{expected}\n"
    found = json.loads(run("compare", "nets:small", "data.npz", *options, "--json").stdout)
    assert found == json.loads(expected.to_json())


def test_certify_is_the_function_s(given):
    expected = igsref.certify(*given, digits=12)
    assert run("certify", "nets:small", "data.npz", "--digits", "12").stdout == f"{expected}\n"
    options = ("--digits", "12", "--json")
    found = json.loads(run("certify", "nets:small", "data.npz", *options).stdout)
    assert (found["lower"], found["rank"]) == (expected.lower, expected.rank)


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_input_is_one_sentence_without_a_traceback(given, command):
    for arguments, said in [
        (("nets:small", "absent.npz"), "there is no file absent.npz"),
        (("nets:seven", "data.npz"), "nets:seven() must return a torch.nn.Module"),
        (("nets:small", "data.npz", "--weights", "absent.pt"), "there is no file absent.pt"),
        (("nets:Named", "data.npz"), "could not be evaluated"),
    ]:
        result = run(command, *arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.startswith(f"igsref {command}: ")
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.stderr


def test_labels_that_do_not_fit_the_logits_are_named(given, folder):
    x, y = given[1]
    np.savez(folder / "far.npz", x=x.numpy(), y=y.numpy() + 2)
    result = run("measure", "nets:small", "far.npz")
    assert result.exit_code == 2
    assert "labels" in result.stderr or "targets" in result.stderr


def test_what_cannot_be_computed_exits_with_1(given):
    result = run("compare", "nets:small", "data.npz", "--memory", "1000")
    assert result.exit_code == 1
    assert "needs" in result.stderr


def test_debug_shows_where(given):
    result = run("measure", "nets:small", "absent.npz", "--debug")
    assert result.exit_code == 1
    assert "_of_arrays" in "".join(traceback.format_tb(result.exc_info[2]))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: igsref {command} nets:" in " ".join(result.stdout.split())
