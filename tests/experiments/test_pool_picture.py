"""Either panel shows what there is."""

import pytest

from experiments.pool_picture import picture
from experiments.pools import COPIES, IMAGES, Point
from tests.experiments.pool_examples import row

LEVERAGE, LOSS = [0.9, 0.5, 0.2, 0.8], [0.1, 1.0, 0.9, 0.12]
RIGHT, WRONG, MIXED = [False] * 4, [True] * 4, [False, False, True, True]
POINTS = [
    Point(kind, 1, rows, 10, 1, 1, value, 1.0, 0.0)
    for kind, rows, value in ((IMAGES, 16, 0.7), (IMAGES, 9, 1.0), (COPIES, 16, 0.6))
]


def labels(panel):
    return [text.get_text() for text in panel.get_legend().get_texts()]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (RIGHT, ["right label (4)"]),
        (WRONG, ["wrong label (4)"]),
        ([True, False, False, False], ["right label (3)", "wrong label (1)"]),
    ],
)
def test_without_mixed_labels_the_first_network_is_drawn(wrong, expected):
    rows = [row(LEVERAGE, LOSS, wrong, name="first"), row(LEVERAGE, LOSS, RIGHT, name="second")]
    _, right = picture(POINTS, rows).axes
    assert right.get_title(loc="left").endswith("network: first")
    assert labels(right) == expected


def test_the_first_network_with_mixed_labels_is_drawn():
    rows = [row(LEVERAGE, LOSS, wrong, name=str(n)) for n, wrong in enumerate((WRONG, MIXED))]
    _, right = picture(POINTS, rows).axes
    assert right.get_title(loc="left").endswith("network: 1")
    drawn = [place for group in right.collections for place in group.get_offsets().tolist()]
    expected = list(map(list, zip(LOSS, LEVERAGE, strict=True)))
    # The right labels, which come first here too; in torch's float32.
    assert drawn == [pytest.approx(place) for place in expected]


def test_saturation_is_drawn_against_rising_size():
    left, _ = picture(POINTS, [row(LEVERAGE, LOSS, RIGHT)]).axes
    images, copies, _ = left.get_lines()
    assert images.get_xydata().tolist() == [[0.9, 1.0], [1.6, 0.7]]
    assert copies.get_xydata().tolist() == [[1.6, 0.6]]
