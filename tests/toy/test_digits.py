"""The digits demo: its table tells the story, its pictures exist, its randomness is its own."""

import io
import re
from contextlib import redirect_stdout

import pytest
import torch

from toy.digits import main

FEW = ["--samples", "60", "--hidden", "6"]
NINE_DIGITS = 1e-9


def printed(*arguments):
    with redirect_stdout(io.StringIO()) as out:
        main([*FEW, *map(str, arguments)])
    return out.getvalue()


def before_and_after(text, route):
    """The two values in the comparison's row of a route."""
    row = re.search(rf"^ *{re.escape(route)} +(\S+) +(\S+) +\S+ *$", text, flags=re.MULTILINE)
    assert row, f"no row {route!r} in\n{text}"
    return float(row[1]), float(row[2])


def heaviest_samples(text):
    return text.partition("The ten samples")[2].partition("Hierarchy")[0].splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def text(folder):
    return printed("--output", folder)


def test_exact_igs_keeps_its_value_under_the_scaling(text):
    before, after = before_and_after(text, "exact_igs")
    assert after == pytest.approx(before, rel=NINE_DIGITS, abs=0)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_textbook_route_does_not(text, precision):
    before, after = before_and_after(text, f"textbook, {precision}, cut 1e-05")
    assert abs(after / before - 1) > 0.01


def test_the_pictures_are_written(text, folder):
    for name in ("spectrum.png", "heaviest.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert name in text


def test_the_seed_decides_all_and_global_randomness_is_left_alone(text, folder):
    state = torch.get_rng_state()
    again = printed("--output", folder, "--seed", 1)
    # Not the whole text: last digits may depend on how threads share the work.
    assert heaviest_samples(again) == heaviest_samples(text) != []
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("option", [("--samples", "9"), ("--hidden", "1")])
def test_an_impossible_option_is_refused(capsys, option):
    with pytest.raises(SystemExit):
        main(option)
    assert option[0] in capsys.readouterr().err
