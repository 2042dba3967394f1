"""What is installed is said, and a wrong number is found."""

import json

import torch
from typer.testing import CliRunner

import igsref
from igsref.cli import app, known
from igsref.report import environment


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_all_is_right_here_and_said():
    result = run()
    assert result.exit_code == 0, result.output
    lines = {line[:24].strip(): line[24:].strip() for line in result.stdout.splitlines()}
    assert lines["igsref"] == igsref.__version__
    assert lines["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert lines["CUDA devices"]
    checks = [line for line in result.stdout.splitlines() if " right: found [" in line]
    assert len(checks) == known.CHECKED


def test_json_has_the_same():
    found = json.loads(run("--json").stdout)
    assert found["versions"] == environment.versions()
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert all(check["right"] for check in found["checks"])


def test_a_wrong_number_exits_with_1(monkeypatch):
    checks = [known.checked(vector) | {"right": False} for vector in known.smallest()[:1]]
    monkeypatch.setattr(known, "smallest", lambda: checks)
    monkeypatch.setattr(known, "checked", lambda check: check)
    result = run()
    assert result.exit_code == 1
    assert result.stdout.count("WRONG: found") == 1
