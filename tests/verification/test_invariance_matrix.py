"""The matrix as picture and JSON, from cells made by hand and from a few that are computed."""

import json
import math

import matplotlib.pyplot
import numpy as np
import pytest

from igsref.testing import Cell
from tests.verification.test_invariance import InThisProcess
from verification import invariance_matrix
from verification.invariance_matrix import LEAST, distance, main, one_cell, picture, shown

CELLS = [
    Cell("IGS", "permutation", True, 1.0, 1.0, 2),
    Cell("IGS", "node scaling", True, 1.0, 1 + 1e-9, 2),
    Cell("Tr(H)", "permutation", False, 1.0, 1.0, 2),
    Cell("Tr(H)", "node scaling", False, 3.0, 100.0, 2),
    Cell("path norm", "permutation", False, None, None, 0, refused="not of this network"),
    Cell("path norm", "node scaling", True, 1.0, -2.0, 2),
]


def test_the_picture_has_a_shade_and_a_number_for_every_ratio_and_a_dot_for_a_promise():
    panel, bar = picture(CELLS).axes
    rows, columns = (
        [tick.get_text() for tick in ticks]
        for ticks in (panel.get_yticklabels(), panel.get_xticklabels())
    )
    assert rows == ["IGS", "Tr(H)", "path norm"]
    assert columns == ["permutation", "node scaling"]
    shade = np.ma.filled(panel.images[0].get_array(), np.nan)
    assert shade[0, 0] == LEAST
    assert shade[1, 1] == pytest.approx(2.0)
    assert math.isnan(shade[2, 0])
    assert shade[2, 1] == 10.0
    assert [text.get_text() for text in panel.texts] == ["1", "1", "1", "100", "n/a", "-2"]
    assert len(panel.lines) == 3
    assert "log" in bar.get_ylabel()


def test_the_picture_leaves_the_global_state_of_matplotlib_alone():
    before = matplotlib.pyplot.get_fignums()
    picture(CELLS)
    assert matplotlib.pyplot.get_fignums() == before


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(1.0, 1e-12), (10.0, 1.0), (0.01, 2.0), (1e30, 10.0), (-1.0, 10.0), (0.0, 10.0)],
)
def test_distances_are_decades_within_the_scale(ratio, expected):
    assert distance(ratio) == pytest.approx(expected, rel=1e-12)
    assert distance(math.inf) == 10.0


@pytest.mark.parametrize(
    ("ratio", "text"), [(1 + 1e-4, "1"), (0.98, "0.98"), (12.34, "12"), (math.inf, "∞")]
)
def test_ratios_are_shown_in_two_digits(ratio, text):
    assert shown(ratio) == text


def test_a_cell_is_that_of_its_measure_and_transformation():
    found = one_cell(("Tr(H)", "permutation", 2, 0))
    assert (found.measure, found.transformation, found.count) == ("Tr(H)", "permutation", 2)
    assert not found.promised
    # Sums in another order of fewer than 100 terms.
    assert found.worst == pytest.approx(1.0, abs=1e-12)


def test_a_run_prints_the_matrix_and_writes_json_and_pictures(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(invariance_matrix, "ProcessPoolExecutor", InThisProcess)
    names = ("IGS", "Frobenius norm")
    few = {name: invariance_matrix.SHARPNESS[name] for name in names}
    monkeypatch.setattr(invariance_matrix, "SHARPNESS", few)
    monkeypatch.setattr(invariance_matrix, "TRANSFORMATIONS", ["permutation", "node scaling"])
    file, folder = tmp_path / "a" / "matrix.json", tmp_path / "b"
    main(["--count", "1", "--json", str(file), "--output", str(folder)])
    printed = capsys.readouterr().out
    assert "1: permutation" in printed
    records = json.loads(file.read_text(encoding="utf-8"))
    assert [(r["measure"], r["transformation"]) for r in records] == [
        (measure, name) for measure in names for name in ("permutation", "node scaling")
    ]
    assert set(records[0]) == {"measure", "transformation", "promised", "median", "worst"}
    assert (folder / "invariance_matrix.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "invariance_matrix.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["--count", "--workers"])
def test_numbers_below_one_are_refused(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        invariance_matrix.arguments([name, "0"])
    assert f"{name} must be at least 1; got 0" in capsys.readouterr().err
