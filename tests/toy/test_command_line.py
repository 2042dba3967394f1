"""The options of the scripts that draw a figure, and the files that they save."""

import argparse
import runpy
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

import toy.margins
import toy.reparametrization
import toy.three_gaussians
from toy.command_line import STYLE, arguments, save_figure, whole_number

# Each with the number of samples that is the least it takes.
SCRIPTS = {toy.three_gaussians: 10, toy.reparametrization: 3, toy.margins: 30}


@pytest.fixture(params=SCRIPTS.items(), ids=lambda pair: pair[0].__name__)
def script(request):
    return request.param


def parsed(folder, *options):
    return arguments(
        [*options, "--output", str(folder)],
        description="A figure.",
        output="unused",
        samples=40,
        fewest=5,
        why="as many as there are fingers",
    )


def plot(values):
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot(values)
    return figure


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "{too_few}"], "--samples: must be at least {fewest}: "),
        (["--samples", "many"], "--samples: must be a whole number; got 'many'"),
        (["--seed", "0.5"], "--seed: must be a whole number; got '0.5'"),
        (["--seed", "-1"], "--seed: must be from 0 to 2^63"),
        (["--seed", str(2**63)], "--seed: must be from 0 to 2^63"),
    ],
)
def test_options_out_of_range_are_refused(script, options, message, capsys, tmp_path):
    module, fewest = script
    chosen = [option.format(too_few=fewest - 1) for option in options]
    with pytest.raises(SystemExit, match="2"):
        module.main([*chosen, "--output", str(tmp_path)])
    assert message.format(fewest=fewest) in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused(script, tmp_path, capsys):
    module, _ = script
    (tmp_path / "taken").touch()
    with pytest.raises(SystemExit, match="2"):
        module.main(["--output", str(tmp_path / "taken")])
    assert "--output must name a folder" in capsys.readouterr().err


def test_the_help_names_the_figure_and_the_folder(script, capsys):
    module, _ = script
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert module.__doc__.splitlines()[0] in words
    assert f"out/{module.__name__.removeprefix('toy.')}" in words


def test_a_script_finds_its_neighbours_where_the_project_is_not_on_the_path(script, monkeypatch):
    module, _ = script
    root = Path(module.__file__).parents[1]
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p).resolve() != root])
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
        monkeypatch.delitem(sys.modules, name)
    assert callable(runpy.run_path(module.__file__, run_name="not_main")["main"])


def test_the_options_are_what_was_asked_for_and_else_the_defaults(tmp_path):
    folder = tmp_path / "new" / "folder"
    assert vars(parsed(folder)) == {"output": folder, "seed": 0, "samples": 40}
    assert folder.is_dir()
    options = parsed(folder, "--samples", "5", "--seed", str(2**63 - 1))
    assert (options.samples, options.seed) == (5, 2**63 - 1)


def test_too_few_samples_are_told_why(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        parsed(tmp_path, "--samples", "4")
    assert "at least 5: as many as there are fingers; got 4" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "1e3", "−1", "-1", str(2**63)])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"^must be .*; got "):
        whole_number(text)


def test_the_same_figure_is_saved_as_the_same_bytes(tmp_path):
    first = save_figure(plot, [1, 3, 2], tmp_path / "first")
    again = save_figure(plot, [1, 3, 2], tmp_path / "again")
    assert [path.name for path in first] == ["first.png", "first.pdf"]
    for one, other, magic in zip(first, again, (b"\x89PNG", b"%PDF"), strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.read_bytes().startswith(magic)
    # No date, which two runs within a second would share.
    assert b"CreationDate" not in first[1].read_bytes()


def test_a_figure_is_drawn_in_the_style_and_the_style_ends_with_it(tmp_path):
    def style():
        return {name: matplotlib.rcParams[name] for name in STYLE}

    before, seen = style(), []

    def draw(values):
        seen.append(style())
        return plot(values)

    save_figure(draw, [1, 2], tmp_path / "figure")
    assert seen == [STYLE] != [before]
    assert style() == before
