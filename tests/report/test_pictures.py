"""Figures show the numbers of the findings, and the same findings give the same bytes."""

import base64
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch

from igsref.report import pictures
from igsref.report.layers import LayerBounds
from igsref.report.selection import MOST, POINTS


def lines(figure):
    return figure.axes[0].get_lines()


def test_every_section_has_a_picture_that_is_svg_and_the_same_in_a_reader_s_own_style(findings):
    drawn = pictures.drawn(findings)
    assert set(drawn) == {"bracket", "samples", "spectrum", "classes", "layers"}
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "lines.linewidth": 9}):
        assert pictures.drawn(findings) == drawn
    for address in drawn.values():
        kind, _, content = address.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ElementTree.fromstring(base64.b64decode(content)).tag.endswith("svg")


def test_what_was_left_out_has_no_picture(findings):
    bare = replace(findings, spectrum=None, layers=(), classes=())
    assert set(pictures.drawn(bare)) == {"bracket", "samples"}


def test_the_bracket_goes_from_lower_to_upper_and_the_axis_to_the_ceiling(findings):
    result = findings.result
    figure = pictures.draw_bracket(result)
    assert list(lines(figure)[0].get_xdata()) == [result.lower, result.upper]
    assert figure.axes[0].patches[0].get_width() == result.value
    assert figure.axes[0].get_xlim() == (0, pytest.approx(1.02 * result.ceiling))


def test_the_spectrum_parts_at_the_rank(findings):
    result = replace(findings.result, rank=5)
    counted, rounding, edge = lines(pictures.draw_spectrum(findings.spectrum, result))
    shown = findings.spectrum[findings.spectrum > 1e-36 * findings.spectrum[0]].numpy()
    assert np.array_equal(counted.get_ydata(), shown[:5])
    assert np.array_equal(rounding.get_ydata(), shown[5:])
    assert list(edge.get_xdata()) == [5.5, 5.5]


def test_scores_fall_beside_their_own_ceilings(findings):
    result = findings.result
    ceiling, score = lines(pictures.draw_samples(result))[:2]
    assert (np.diff(score.get_ydata()) <= 0).all()
    pairs = set(zip(ceiling.get_ydata(), score.get_ydata(), strict=True))
    expected = zip(result.sample_ceiling.tolist(), result.per_sample.tolist(), strict=True)
    assert pairs == set(expected)


def test_classes_have_their_shares_in_percent(findings):
    axes = pictures.draw_classes(findings.classes).axes[0]
    widths = [patch.get_width() for patch in axes.patches]
    assert widths == [100 * each.share for each in findings.classes]


def test_of_many_layers_those_that_are_missed_most_are_shown(findings):
    many = [LayerBounds(f"layer {k}", 1, 0.1, float(k)) for k in reversed(range(30))]
    axes = pictures.draw_layers(many, findings.result).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"layer {k}" for k in reversed(range(MOST))]
    low, high = axes.get_ylim()
    assert low > MOST - 1 + 0.37 and high < -0.37  # all of both bars of the first and the last


def test_of_very_many_points_few_are_drawn(findings):
    count = 50_000
    falling = torch.logspace(0, -6, count, dtype=torch.float64)
    result = replace(findings.result, per_sample=falling, sample_ceiling=2 * falling, rank=count)
    for figure in (
        pictures.draw_samples(result),
        pictures.draw_spectrum(falling, result),
    ):
        index, values = lines(figure)[0].get_data()
        assert len(index) <= POINTS
        assert [index[0], index[-1]] == [1, count]
        assert values[-1] / values[0] == pytest.approx(1e-6)


def test_a_name_with_a_dollar_is_no_formula(findings):
    named = [LayerBounds(r"$\x$ Linear", 1, 0.1, 0.2), LayerBounds("b", 1, 0.1, 0.2)]
    few = replace(findings, spectrum=None, classes=(), layers=tuple(named))
    assert set(pictures.drawn(few)) == {"bracket", "samples", "layers"}


def test_layers_with_long_names_are_told_apart_and_the_legend_is_whole(findings):
    named = [
        LayerBounds(f"model.layers.{k}.attention.projection Linear", 1, 1.0, 2.0) for k in (1, 2)
    ]
    figure = pictures.draw_layers(named, findings.result)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"model.layers.{k}.attention.\nprojection Linear" for k in (1, 2)]
    figure.draw_without_rendering()
    (legend,) = figure.legends
    inside, page = legend.get_window_extent(), figure.bbox
    assert page.x0 <= inside.x0 and inside.x1 <= page.x1
    assert inside.y0 >= figure.axes[0].get_window_extent().y1


def test_a_very_long_name_keeps_its_end(findings):
    named = [LayerBounds("a" * 100 + ".last Linear", 1, 1.0, 2.0)] * 2
    axes = pictures.draw_layers(named, findings.result).axes[0]
    shown = axes.get_yticklabels()[0].get_text()
    assert shown.startswith("…a")
    assert shown.endswith("last Linear")
    assert len(shown) <= 53
