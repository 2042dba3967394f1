"""`igsref vectors`: what it writes, prints and refuses."""

import pytest
from typer.testing import CliRunner

from igsref.cli import app
from igsref.cli.vector_lines import line
from igsref.vectors import load
from igsref.vectors import write as write_all
from tests.vectors.cases import NAME, stored


def run(*arguments):
    return CliRunner().invoke(app, ["vectors", *map(str, arguments)])


def test_the_list_has_a_line_for_every_vector():
    result = run("list")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == list(map(line, load()))


def test_the_list_is_that_of_a_directory(tmp_path):
    stored(tmp_path)
    result = run("list", tmp_path)
    assert result.output.split() == (
        f"{NAME} N 4 m 9 rank 6 IGS {float(load(tmp_path)[0].expected.igs):.6g} small".split()
    )


def test_malformed_files_are_refused_with_a_message(tmp_path):
    stored(tmp_path)
    (tmp_path / f"{NAME}.json").write_text("[]")
    result = run("list", tmp_path)
    assert result.exit_code == 2
    assert "small.json must be an object" in " ".join(result.output.split())
    assert run("list", tmp_path / "nowhere").exit_code == 2


@pytest.fixture
def only_one(tmp_path, monkeypatch):
    """The command's own vectors are one small one, here."""
    source = tmp_path / "source"
    source.mkdir()
    stored(source)
    monkeypatch.setattr("igsref.vectors.write", lambda folder: write_all(folder, source))
    return source


def test_vectors_are_written_bit_for_bit(only_one, tmp_path):
    target = tmp_path / "target"
    result = run("write", target)
    assert result.exit_code == 0
    assert f"1 vectors written to {target}" in result.output.replace("\n", "")
    for path in only_one.iterdir():
        assert (target / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("below", [".", "inside", "x" * 300])
def test_a_file_is_no_directory(only_one, below):
    path = only_one / f"{NAME}.json" / below
    result = run("write", path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"igsref vectors write: {path}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["write", "list"])
def test_help_has_an_example(command):
    shown = " ".join(run(command, "--help").stdout.split())
    assert f"Example: igsref vectors {command}" in shown
