"""The lines say what the numbers say."""

import pytest

from experiments.leverage import matched
from experiments.pool_tables import (
    NETWORK_HEADER,
    POOL_HEADER,
    crossing_line,
    matched_lines,
    network_line,
    over_networks,
    point_line,
)
from experiments.pools import IMAGES, Point
from tests.experiments.pool_examples import row

LEVERAGE, LOSS = [0.9, 0.5, 0.2, 0.8], [0.1, 1.0, 0.9, 0.12]
MIXED = [False, False, True, True]


def point(ratio, saturation, **others):
    return Point(IMAGES, 7, round(10 * ratio), 10, 4, 5, 3 * saturation, 3.0, 2.0, **others)


def test_a_pool_is_a_line_as_wide_as_the_header_and_its_bracket_another():
    line = point_line(point(1.2, 0.5))
    assert len(line) == len(POOL_HEADER)
    assert line.split() == ["images", "7", "12", "1.20", "4", "5", "1.5", "3", "0.5000", "2"]
    with_bracket = point_line(point(1.2, 0.5, bracket=(1.25, 1.75, "verified")))
    assert with_bracket.splitlines() == [
        line,
        "  verified: 1.25 ≤ IGS ≤ 1.75, saturation ≤ 0.583333",
    ]


@pytest.mark.parametrize(
    ("saturations", "said"),
    [
        ((1.0, 0.95, 0.8), "images: below 0.9 between 2.00 and 3.00"),
        ((0.5, 0.4, 0.3), "images: below 0.9 at 1.00, the smallest"),
        ((1.0, 1.0, 0.9), "images: not below 0.9 at any of these sizes"),
    ],
)
def test_where_saturation_falls_is_said(saturations, said):
    points = [point(number, value) for number, value in enumerate(saturations, start=1)]
    assert crossing_line(points) == said


def test_a_network_is_a_line_with_epochs_and_training_loss():
    line = network_line(row(LEVERAGE, LOSS, MIXED, labelled=2, epochs=17, training_loss=0.4321))
    assert len(line) == len(NETWORK_HEADER)
    names = NETWORK_HEADER.replace("in band", "in-band").replace("tr Λ", "trΛ").split()
    found = dict(zip(names, line.split(), strict=True))
    assert found["epochs"] == "17"
    assert found["train"] == "0.4321"
    assert found["loss"] == "0.5500"
    assert found["gap"] == "0.07"


def test_only_networks_with_mixed_labels_are_held_against_each_other():
    alike = row(LEVERAGE, LOSS, [False] * 4, name="alike")
    mixed = row(LEVERAGE, LOSS, MIXED, name="mixed")
    mean, error = matched(mixed)
    said = list(matched_lines([alike, mixed]))[1:]
    assert [line.split() for line in said] == [["mixed", f"{mean:+.4f}", "±", f"{error:.4f}"]]
    assert list(matched_lines([alike])) == []


def test_correlations_over_networks_are_of_ranks():
    rows = [
        row([loss / 2], [loss], [False], test_loss=test, spread=-(loss**3))
        for loss, test in ((0.2, 3.0), (0.9, 1.0), (0.4, 2.0))
    ]
    lines = {line[:24].strip(): line[24:].split() for line in over_networks(rows)}
    assert lines["loss"] == ["-1.00", "+1.00", "-1.00"]
    assert lines["tr Λ"] == ["+1.00", "-1.00", "+1.00"]
