"""The figure shows every measure with its interval, and every part."""

import dataclasses

from matplotlib.collections import LineCollection

from experiments.correlation_picture import COLOURS, MARKERS, picture
from experiments.findings import UPPER, ranking
from tests.experiments.subjects import subjects

PARTS = ("first", "second", "third")


def drawn():
    found = {part: subjects(6, good=float, bad=lambda gap: -gap) for part in PARTS}
    ranked = {part: ranking(own, [each.gap for each in own]) for part, own in found.items()}
    return picture(ranked, found)


def test_each_measure_has_a_row_and_each_part_a_colour_and_a_panel():
    figure = drawn()
    left, *panels = figure.get_axes()
    labels = [text.get_text() for text in left.get_yticklabels()]
    assert sorted(labels) == sorted(["IGS", UPPER, "good", "bad", "−training loss"])
    (legend,) = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == list(PARTS)
    assert [panel.get_title(loc="left") for panel in panels] == list(PARTS)
    assert len(set(COLOURS)) == len(set(MARKERS)) == len(PARTS)


def test_gaps_with_an_error_have_a_bar():
    known = [dataclasses.replace(each, gap_error=0.25) for each in subjects(6, good=float)]
    found = {"first": subjects(6, good=float), "second": known}
    ranked = {part: ranking(own, [each.gap for each in own]) for part, own in found.items()}
    _, plain, barred = picture(ranked, found).get_axes()
    assert len(plain.collections) == 1
    (ends,) = (c.get_segments() for c in barred.collections if isinstance(c, LineCollection))
    assert ends[2].tolist() == [[3.0, 2.75], [3.0, 3.25]]


def test_coefficients_and_igs_stand_where_their_values_are():
    left, first, *_ = drawn().get_axes()
    row = [text.get_text() for text in left.get_yticklabels()].index("bad")
    points = left.containers[1].lines[0]
    values = dict(zip(points.get_ydata(), points.get_xdata(), strict=True))
    assert values[row] == -1
    assert first.collections[0].get_offsets().tolist()[0] == [1, 1]
    assert first.get_xscale() == "log"
