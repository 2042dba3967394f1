"""What is installed is said, and a wrong number is found."""

import dataclasses
import json

import pytest
import torch
from typer.testing import CliRunner

import igsref
from igsref.cli import app, doctor
from igsref.exact.decimals import Decimals
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
    assert len(checks) == doctor.CHECKED


def test_json_has_the_same():
    found = json.loads(run("--json").stdout)
    assert found["versions"] == environment.versions()
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert all(check["right"] for check in found["checks"])
    for check in found["checks"]:
        low, high = map(float, check["proven"])
        assert check["found"][0] <= low <= high <= check["found"][1]


@pytest.mark.parametrize("factor", [1 - 1e-6, 1 + 1e-6])
def test_a_number_that_is_wrong_in_the_sixth_digit_exits_with_1(monkeypatch, factor):
    vector, *rest = doctor.smallest()
    value = str(float(vector.expected.igs) * factor)
    wrong = dataclasses.replace(vector.expected, igs=Decimals(value, value))
    vectors = [dataclasses.replace(vector, expected=wrong), *rest]
    monkeypatch.setattr(doctor, "smallest", lambda: vectors)
    result = run()
    assert result.exit_code == 1
    assert result.stdout.count("WRONG: found") == 1
