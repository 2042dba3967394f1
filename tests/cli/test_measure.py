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
        *remarks, sentence = result.stderr.splitlines()
        assert sentence.startswith(f"igsref {command}: ")
        assert said in sentence
        assert all("no --weights are given" in remark for remark in remarks)
        assert len(remarks) <= 1
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
    assert "stored_arrays" in "".join(traceback.format_tb(result.exc_info[2]))


SAID = ("--parameters", "3.*", "--parameters", "0.bias", "--fisher-data", "pool.npz")
OPTIONS = {"parameters": ["3.*", "0.bias"], "fisher_data": torch.eye(4)}


def test_options_of_a_problem_are_those_of_the_function(given, folder):
    """27 is the number of parameters that are named; 1 is no bound on the rank."""
    np.savez(folder / "pool.npz", x=OPTIONS["fisher_data"].numpy())
    result = run("measure", "nets:small", "data.npz", *SAID, "--rank-bound", "27")
    assert result.stdout == f"{igsref.igs(*given, **OPTIONS, rank_bound=27)}\n"
    low = run("measure", "nets:small", "data.npz", "--rank-bound", "1")
    assert "rank_bound=1 is below the rank" in low.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_hands_the_options_of_a_problem_on(given, folder, monkeypatch, command):
    taken = {}

    def measured(*_, **options):
        taken.update(options)
        raise ValueError("enough")

    function = {"measure": "igs"}.get(command, command)
    monkeypatch.setattr(igsref, function, measured)
    np.savez(folder / "pool.npz", x=OPTIONS["fisher_data"].numpy())
    others = ("--rank-bound", "27", "--likelihood", "gaussian", "--logits", "logits")
    assert "enough" in run(command, "nets:net", "data.npz", *SAID, *others).stderr
    assert taken.pop("fisher_data").equal(OPTIONS["fisher_data"])
    expected = {"parameters": OPTIONS["parameters"], "rank_bound": 27}
    assert taken.items() >= {**expected, "likelihood": "gaussian", "logits": "logits"}.items()


def test_logits_are_found_in_what_the_model_returns(given):
    nets = __import__("nets")

    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.own = nets.small()

        def forward(self, x):
            return x, self.own(x)

    nets.both = Both()
    found = run("measure", "nets:both", "nets:pair", "--logits", "1")
    bare = run("measure", "nets:net", "nets:pair")
    assert found.stdout.splitlines()[0] == bare.stdout.splitlines()[0]


def test_json_is_all_of_the_output_where_something_is_remarked(given):
    result = run("measure", "nets:small", "data.npz", "--json")
    assert "no --weights are given" in result.stderr
    assert json.loads(result.stdout)["grade"] == igsref.igs(*given).grade


def test_steps_take_their_options_and_their_file(given, folder, monkeypatch):
    taken = {}
    monkeypatch.setattr(igsref, "igs", lambda *_, **options: taken.update(options))
    checkpoint = folder / "runs" / "kept"
    numbers = ("--max-seconds", "3", "--heaviest", "4", "--probes", "5", "--seed", "6")
    said = (*numbers, "--tolerance", "0.5", "--checkpoint", str(checkpoint))
    run("measure", "nets:net", "data.npz", *said)
    names = ("max_seconds", "heaviest", "probes", "seed", "tolerance", "checkpoint")
    assert [taken[name] for name in names] == [3.0, 4, 5, 6, 0.5, checkpoint]
    assert list(checkpoint.parent.iterdir()) == []


@pytest.mark.parametrize("path", [".", "data.npz/kept"])
def test_a_checkpoint_that_cannot_be_written_is_named_before_the_run(given, monkeypatch, path):
    monkeypatch.setattr(igsref, "igs", lambda *_, **__: pytest.fail("the run has started"))
    result = run("measure", "nets:net", "data.npz", "--checkpoint", path)
    assert result.exit_code == 2
    assert result.stderr.startswith("igsref measure: --checkpoint must name a file")
    assert path in result.stderr
    assert ".part" not in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: igsref {command} nets:" in " ".join(result.stdout.split())
