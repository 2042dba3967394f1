"""The command finds the function, says what it found, and exits by it."""

import json
import sys

import pytest
import typer
from typer.testing import CliRunner

from igsref.cli import app
from igsref.conformance import summary
from igsref.conformance.invariance import EXAMPLES
from tests.conformance import cases

MODULE = """
import igsref

def right(model, data):
    return igsref.exact_igs(model, data).value

def wrong(model, data):
    return 1.01 * right(model, data)

def raises(model, data):
    raise RuntimeError("not today")

number = 3.0
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command in a folder with a module of one's own, on three small vectors."""
    monkeypatch.setattr("igsref.vectors.load", cases.small_vectors)
    monkeypatch.setattr(summary, "TRANSFORMATIONS", ["permutation", "node scaling"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_igs.py").write_text(MODULE)
    (tmp_path / "broken_igs.py").write_text("import igsref\n1 / 0\n")
    before = list(sys.path)

    def invoke(*arguments):
        return CliRunner().invoke(app, ["check", *arguments])

    yield invoke
    assert sys.path == before
    for name in ("own_igs", "broken_igs"):
        sys.modules.pop(name, None)


def test_a_right_function_of_the_current_directory_exits_with_0(run):
    result = run("own_igs:right", "--examples", "1")
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith("\npassed")


def test_json_is_printed_in_the_place_of_the_tables(run):
    result = run("own_igs:raises", "--examples", "1", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["function"], found["passed"]) == ("own_igs:raises", False)
    assert {law["examples"] for law in found["laws"]} == {1}


@pytest.mark.parametrize(
    ("name", "word"), [("wrong", "wrong"), ("raises", "RuntimeError: not today")]
)
def test_a_function_that_is_not_right_exits_with_1(run, name, word):
    result = run(f"own_igs:{name}", "--examples", "1")
    assert result.exit_code == 1
    assert word in result.stdout
    assert result.stdout.rstrip().endswith("not passed")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_igs", "must be of the form PACKAGE.MODULE:NAME; got 'own_igs'"),
        (":right", "must be of the form"),
        ("own_igs:", "must be of the form"),
        ("not_there:right", "could not import 'not_there'"),
        ("broken_igs:right", "ZeroDivisionError: division by zero"),
        ("own_igs:left", "it has no 'left'"),
        ("own_igs:number", "must be a function; got float 3.0"),
        ("./own_igs:right", "In that file's directory it is own_igs:right"),
        ("own_igs.py:right", "a module as it is imported and no path; got 'own_igs.py:right'"),
        ("/some/where/own_igs.py:right", "it is own_igs:right"),
    ],
)
def test_a_name_that_leads_to_no_function_exits_with_2_and_says_why(run, name, message):
    result = run(name)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_what_was_tried_is_named(run, tmp_path):
    assert str(tmp_path) in run("not_there:right").stderr
    assert str(tmp_path / "own_igs.py") in run("own_igs:left").stderr


def test_fewer_than_one_example_is_refused(run):
    result = run("own_igs:right", "--examples", "0")
    assert result.exit_code == 2
    assert "--examples" in result.stderr


def test_the_command_is_in_the_help():
    assert isinstance(app, typer.Typer)
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "check" in result.stdout


def test_the_number_of_networks_in_the_help_is_the_one_that_is_taken(run, monkeypatch):
    def taken(*_, **options):
        raise ValueError(f"examples: {options}")

    assert f"{EXAMPLES} unless given" in " ".join(run("--help").stdout.split())
    monkeypatch.setattr("igsref.conformance.conformance", taken)
    assert "examples: {}" in run("own_igs:right").stderr
    assert "examples: {'examples': 3}" in run("own_igs:right", "--examples", "3").stderr


def test_what_the_function_prints_is_not_in_the_table(run, tmp_path):
    (tmp_path / "own_igs.py").write_text(
        MODULE.replace("raise Run", "print('not today'); raise Run")
    )
    result = run("own_igs:raises", "--examples", "1")
    lines = result.stdout.splitlines()
    assert not [line for line in lines if line.startswith("not today")]
    assert lines[0].split()[:2] == ["case", "verdict"]
