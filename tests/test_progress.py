"""Passes over blocks: Ctrl-C says what was reached, and the bar goes."""

import io
import sys

import pytest

import igsref
from igsref import progress
from igsref.geometry.wide import wide_geometry
from igsref.jacobian.columns import column_ranges
from igsref.progress import interruptible
from tests.strategies import architecture


def interrupted_in(blocks, at):
    with interruptible("blocks of columns", 5, "no value yet") as shown:
        for block in shown(blocks):
            if block == at:
                raise KeyboardInterrupt


@pytest.mark.parametrize("at", [0, 3, 4])
def test_an_interruption_says_how_many_blocks_were_done(at):
    message = f"^interrupted after {at} of 5 blocks of columns; no value yet$"
    with pytest.raises(KeyboardInterrupt, match=message):
        interrupted_in(range(5), at)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("at", [0, 3])
def test_the_count_is_the_same_where_a_bar_is_shown(at, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "SECONDS_BEFORE_PROGRESS", 0.0)
    with pytest.raises(KeyboardInterrupt, match=f"interrupted after {at} of 5 blocks"):
        interrupted_in(range(5), at)
    assert "blocks of columns" in screen.getvalue()


def test_every_block_is_passed_on_in_order():
    with interruptible("blocks", 5, "") as shown:
        assert list(shown(range(5))) == [0, 1, 2, 3, 4]


def test_an_interruption_before_the_first_block_counts_none():
    with (
        pytest.raises(KeyboardInterrupt, match="after 0 of 2 blocks"),
        interruptible("blocks", 2, ""),
    ):
        raise KeyboardInterrupt


def test_other_errors_pass_as_they_are():
    with (
        pytest.raises(ValueError, match=r"^mine$"),
        interruptible("blocks", 2, "") as shown,
    ):
        for _ in shown(range(2)):
            raise ValueError("mine")


PLACES = {
    "igsref.geometry.wide.jacobian_rows": "no value yet",
    "igsref.geometry.verify.jacobian_rows": "the range is known, its certificate is not",
}


@pytest.mark.parametrize(("place", "so_far"), PLACES.items())
def test_a_pass_over_columns_says_what_is_known(place, so_far, monkeypatch):
    module, name = place.rsplit(".", 1)
    original = getattr(sys.modules[module], name)
    calls = []

    def stopped(*arguments, **options):
        calls.append(1)
        # The first pass looks at a few samples' rows too.
        if options.get("samples") is None and len(calls) > 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    model, x, y = architecture("MLP with tanh", 1, 9)
    problem = igsref.as_problem(model, (x, y))
    ranges = column_ranges(problem, 10)
    monkeypatch.setattr(place, stopped)
    message = rf"interrupted after [12] of {len(ranges)} blocks of columns; {so_far}"
    with pytest.raises(KeyboardInterrupt, match=message):
        igsref.exact_igs(wide_geometry(problem, ranges, "streamed"))
