"""The report says of every case and every law what was found, and passes only what is right."""

import json
from dataclasses import replace

import pytest

import igsref
from igsref.conformance import Breach, Conformance, Law, Score, conformance, report, summary
from igsref.testing import TRANSFORMATIONS, Case
from tests.conformance import cases

RIGHT = Score("one", "right", 2.0, ratio=1.0, correct_digits=12.34, seconds=0.5)
WRONG = Score("one", "wrong", 9.0, ratio=0.25, correct_digits=0.25, above_ceiling=True, seconds=0.5)
SKIPPED = Score("two", "skipped", error="a gaussian likelihood")
HOLDS = Law("permutation", "holds", 1e-12, 1e-6, 5, 0)


def test_a_report_has_a_line_for_every_case_twin_and_law():
    refused = Law("sign flip", "refused", None, None, 5, 5, "ValueError: no tanh")
    text = report(Conformance((RIGHT, SKIPPED), (WRONG,), (HOLDS, refused)))
    found, under, sums = text.split("\n\n")
    heads, one, twin, two = found.splitlines()
    assert heads.split() == [
        "case",
        "verdict",
        "digits",
        "value/expected",
        "above",
        "ceiling",
        "seconds",
    ]
    assert one.split() == ["one", "right", "12.3", "1", "0.500"]
    assert twin.split() == ["badly", "scaled", "wrong", "0.2", "0.25", "yes", "0.500"]
    assert two.split() == ["two", "skipped", "–", "–", "–", "a", "gaussian", "likelihood"]
    _, permutation, flip = under.splitlines()
    assert permutation.split() == ["permutation", "holds", "5", "1.0e-12", "1.0e-06"]
    assert flip.split()[2:10] == ["refused", "5", "–", "–", "5", "of", "5", "ValueError:"]
    lines = sums.splitlines()
    assert lines[0] == (
        "as given: 1 right, 1 skipped, 0 above the ceiling, digits: median 12.3, worst 12.3"
    )
    assert lines[1].startswith("badly scaled: 1 wrong, 1 above the ceiling, digits: median 0.2")
    assert lines[2] == "laws: 1 holds, 1 refused"
    assert lines[-1] == "not passed"


def test_sums_keep_their_order_whatever_came_first():
    refused = Score("three", "refused", error="no")
    broken, holds = replace(HOLDS, verdict="broken"), HOLDS
    text = report(Conformance((SKIPPED, refused, WRONG, RIGHT), (), (broken, holds)))
    assert "as given: 1 right, 1 wrong, 1 refused, 1 skipped, 1 above" in text
    assert "laws: 1 holds, 1 broken" in text


def test_the_first_breach_of_a_law_is_told_with_what_draws_it_again():
    case = Case("tanh perceptron", 1, "permutation", 2, 0.5)
    broken = replace(HOLDS, verdict="broken", breach=Breach(case, 1.5, float("nan")), error="E: no")
    line = report(Conformance((RIGHT,), (), (broken,))).split("\n\n")[1].splitlines()[1]
    assert line.endswith(f"1.5 before, nan after igsref.testing.{case!r}; E: no")


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        (Conformance((RIGHT, SKIPPED), (RIGHT,), (HOLDS,)), True),
        (Conformance((RIGHT, WRONG), (RIGHT,), (HOLDS,)), False),
        (Conformance((RIGHT,), (WRONG,), (HOLDS,)), False),
        (Conformance((RIGHT, replace(RIGHT, verdict="refused")), (), (HOLDS,)), False),
        (Conformance((RIGHT,), (), (HOLDS, replace(HOLDS, verdict="broken"))), False),
        (Conformance((RIGHT,), (), (replace(HOLDS, verdict="refused"),)), False),
        (Conformance((SKIPPED,), (), (HOLDS,)), False),
    ],
)
def test_only_what_is_right_throughout_passes(found, passed):
    assert found.passed is passed
    assert report(found).endswith("\npassed") is passed


def test_a_right_function_passes_on_vectors_twins_and_laws(monkeypatch):
    few = ["permutation", "node scaling"]
    monkeypatch.setattr(summary, "TRANSFORMATIONS", few)
    found = conformance(igsref.exact_igs, cases.small_vectors(), examples=1)
    assert found.passed
    assert [entry.name for entry in found.scaled] == ["below its ceiling", "saturated"]
    assert [law.transformation for law in found.laws] == few
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["passed"] is True
    assert [entry["name"] for entry in again["scores"]] == [v.name for v in cases.small_vectors()]


def test_a_function_that_always_raises_is_reported_and_not_raised():
    found = conformance(cases.raises, cases.small_vectors(), examples=1)
    assert not found.passed
    text = report(found)
    # Of 3 vectors, 2 twins and every law.
    assert text.count("RuntimeError: no CUDA here") == 5 + len(TRANSFORMATIONS)
    assert "as given: 3 refused, 0 above the ceiling\n" in text
