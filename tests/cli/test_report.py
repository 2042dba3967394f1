"""The command writes the page of the function, and says what it measured."""

import pytest
from typer.testing import CliRunner

import igsref
from igsref.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["report", *arguments])


def test_the_page_is_written_with_the_command(folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["igsref", "report", "nets:small", "nets:pair", "my out.html"])
    nets = __import__("nets")
    result = run("nets:small", "nets:pair", "my out.html", "--image-shape", "2x2")
    assert result.exit_code == 0, result.output
    expected = igsref.igs(nets.small().eval(), nets.pair)
    assert result.stdout == f"{expected}\nwrote my out.html\n"
    page = (folder / "my out.html").read_text("utf-8")
    assert "igsref report nets:small nets:pair &#39;my out.html&#39;" in page
    assert 'class="thumbnail"' in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nets:small", "nets:pair", "out.html", "--image-shape", "2,2"), "--image-shape must be"),
        (("nets:small", "nets:pair", "out.html", "--image-shape", "3x3"), "4 pixels in all"),
        (("nets:small", "nets:pair", "."), "path must name a file"),
        (("nets:small", "none.npz", "out.html"), "none.npz"),
        (("nets:small", "nets:pair", "nets.py/out.html"), "nets.py"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(folder, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (folder / "out.html").exists()
