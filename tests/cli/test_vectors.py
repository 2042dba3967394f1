"""`igsref vectors`: what it writes, prints and refuses."""

from fractions import Fraction

import pytest
from typer.testing import CliRunner

from igsref.cli import app
from igsref.cli import vectors as command
from igsref.vectors import load
from igsref.vectors import write as write_all
from tests.vectors.cases import NAME, stored


def run(*arguments):
    return CliRunner().invoke(app, ["vectors", *map(str, arguments)])


def test_the_list_names_every_vector_with_its_rank():
    result = run("list")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    vectors = load()
    assert len(lines) == len(vectors)
    for line, vector in zip(lines, vectors, strict=True):
        name, *words = line.split()
        rank = words[words.index("rank") + 1]
        assert name == vector.name
        assert rank == ("undecided" if vector.expected.rank is None else str(vector.expected.rank))
        low, *high = words[words.index("IGS") + 1].split("–")
        ends = vector.expected.igs.fractions
        if vector.expected.rank is None:
            assert Fraction(low) <= ends[0] and ends[1] <= Fraction(*high)
            assert Fraction(low) > ends[0] * Fraction(999, 1000)
        else:
            assert (float(low), high) == (float(f"{float(ends[0]):.6g}"), [])
        assert line.endswith(", ".join(vector.tags))


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
    monkeypatch.setattr(command, "write_vectors", lambda folder: write_all(folder, source))
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
    result = run("write", only_one / f"{NAME}.json" / below)
    assert result.exit_code == 2
    assert "must be a directory" in " ".join(result.output.split())
