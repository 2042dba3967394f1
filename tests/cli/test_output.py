"""Lines are printed, and a reader that leaves early is no error."""

import os
import sys

from typer.testing import CliRunner

import igsref
from igsref.cli import app
from igsref.cli.output import remark, show


def test_lines_are_printed(capsys):
    show(f"line {i}" for i in range(2))
    assert capsys.readouterr().out == "line 0\nline 1\n"


def test_a_reader_that_has_gone_ends_the_list_and_nothing_else(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    shown = []

    def lines():
        for i in range(3):
            shown.append(i)
            yield f"line {i}"

    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        show(lines())
        pipe.flush()  # as Python does at its end
    assert shown == [0]


def test_a_remark_is_beside_the_output(capsys):
    remark("plan", "a word")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "igsref plan: a word\n")


def test_the_version_is_printed():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"igsref {igsref.__version__}\n")
