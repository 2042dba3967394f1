"""The table has every route, and its numbers are those of the scores."""

import pytest

from igsref.conformance import Conformance, Law, Score
from igsref.testing import TRANSFORMATIONS
from tests.conformance import cases
from verification import peers_table
from verification.peers_table import HEADER, refusals, row


def scored(name, verdict, digits=None, **settings):
    return Score(name, verdict, correct_digits=digits, **settings)


def test_a_row_counts_numbers_right_ones_digits_ceilings_and_laws():
    found = Conformance(
        scores=(
            scored("a", "right", 12.0),
            scored("b", "right", 8.0),
            scored("c", "wrong", 1.0, above_ceiling=True),
            scored("d", "skipped"),
            scored("e", "refused", error="ValueError: no"),
        ),
        scaled=(scored("a", "refused", error="ValueError: no"),),
        laws=(
            Law("permutation", "broken", 1.0, 0.1, 2, 0),
            Law("sign flip", "refused", None, None, 2, 2, "KeyError: tanh"),
        ),
    )
    assert dict(zip(HEADER, row("x", found), strict=True)) == {
        "route": "x",
        "vectors": "3 of 4",
        "right": "2",
        "median digits": "8.0",
        "worst": "1.0",
        "scaled": "0 of 1",
        "right, scaled": "0",
        "median digits, scaled": "–",
        "worst, scaled": "–",
        "above ceiling": "1",
        "laws broken": "1 of 2",
        "laws refused": "1 of 2",
    }
    assert refusals("x", found) == [
        "x: 2 of the cases, 0 of the laws: ValueError: no",
        "x: 0 of the cases, 1 of the laws: KeyError: tanh",
    ]


def test_a_run_prints_every_route(monkeypatch, capsys):
    monkeypatch.setattr(peers_table, "load", cases.small_vectors)
    few = {"norm": cases.norm_of_weights, "raises": cases.raises}
    monkeypatch.setattr(peers_table, "ROUTES", few)
    peers_table.main(["--examples", "1"])
    heads, norm, raises, *rest = capsys.readouterr().out.splitlines()
    assert heads.startswith("route ")
    assert norm.split()[:4] == ["norm", "3", "of", "3"]
    assert raises.split()[:4] == ["raises", "0", "of", "3"]
    assert (
        f"raises: 5 of the cases, {len(TRANSFORMATIONS)} of the laws: RuntimeError: no CUDA here"
        in rest
    )
    assert any("nngeometry" in line for line in rest)
    peers_table.main(["--examples", "1", "--markdown"])
    assert capsys.readouterr().out.startswith("| route |")


def test_the_routes_are_the_library_the_textbook_and_the_peers():
    assert list(peers_table.ROUTES) == [
        "igsref.exact_igs",
        "textbook64",
        "textbook32",
        "curvlinops_dense",
        "nngeometry_low_rank",
    ]


def test_fewer_than_one_example_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        peers_table.main(["--examples", "0"])
    assert "--examples must be at least 1; got 0" in capsys.readouterr().err
