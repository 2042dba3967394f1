"""The command writes the page of the function, and says what it measured."""

import numpy as np
import pytest
import torch
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


def test_options_are_those_of_a_problem(folder, monkeypatch):
    taken = {}
    monkeypatch.setattr(igsref, "write_report", lambda *_, **options: taken.update(options))
    np.savez(folder / "pool.npz", x=np.eye(4, dtype=np.float32))
    torch.save(__import__("nets").net.state_dict(), "net.pt")
    said = (
        "--weights",
        "net.pt",
        "--parameters",
        "3.*",
        "--fisher-data",
        "pool.npz",
        "--rank-bound",
        "18",
    )
    result = run("nets:net", "nets:pair", "out.html", *said, "--logits", "logits")
    assert result.exit_code == 0, result.output
    assert taken["fisher_data"].equal(torch.eye(4))
    assert str(taken["weights"]) == "net.pt"
    names = ("parameters", "rank_bound", "logits", "likelihood", "device", "max_seconds")
    assert [taken[name] for name in names] == [["3.*"], 18, "logits", "categorical", None, 600.0]


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
    *remarks, sentence = result.stderr.splitlines()
    assert said in sentence
    assert all("no --weights are given" in remark for remark in remarks)
    assert len(remarks) <= 1
    assert ".part" not in result.stderr
    assert not (folder / "out.html").exists()
