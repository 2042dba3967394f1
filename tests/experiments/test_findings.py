"""The table says what goes with the gap, who missed the loss, and what was refused."""

import dataclasses
import json

import pytest

from experiments.findings import (
    Finding,
    Refusal,
    columns,
    finding,
    finding_of,
    heading,
    in_page,
    in_text,
    ranking,
    rows,
    stored,
)
from experiments.populations import MATCHED
from tests.experiments.subjects import subjects


def found_of(**changes):
    found = finding("part", subjects(8, good=lambda gap: gap**3, bad=lambda gap: 1.0))
    return dataclasses.replace(found, **changes)


def test_the_strongest_measure_comes_first_and_baselines_are_marked():
    found = found_of()
    # All but the last are ±1.
    assert list(found.ranking) == ["−training loss", "IGS", "good", "IGS, upper end", "bad"]
    assert found.of("good").value == pytest.approx(1)
    assert found.of("−training loss").value == pytest.approx(-1)
    assert found.of("bad") is None
    assert found.of("absent") is None
    table = {row[0]: row[1:] for row in rows(found)}
    assert table["good"][2] == "+1.00 [+1.00, +1.00]"
    assert table["bad"] == ["–"] * 4
    assert "−training loss *" in table


def test_a_heading_says_how_many_networks_of_what_kind():
    line = heading(found_of())
    assert line.startswith(
        "part: 8 networks; m = 10 to 17, training loss 0.1 to 0.8, gap 1 to 8 nats. "
    )


def test_how_well_the_igs_is_known_is_said():
    found = subjects(6, good=float)
    wide = {0: (0.5, 1.0), 3: (0.98, 1.0), 4: (0.995, 1.0)}
    for place, bracket in wide.items():
        found[place] = dataclasses.replace(found[place], bracket=bracket)
    summed = finding("part", found)
    assert (summed.close, summed.widest) == (4, 0.5)
    assert "known to 1% for 4 of them, the widest bracket is 0.5 of its" in heading(summed)


def test_the_training_loss_has_its_sign_changed():
    found = columns(subjects(6, good=float))
    assert found["−training loss"] == pytest.approx([-0.1, -0.2, -0.3, -0.4, -0.5, -0.6])
    assert "training loss" not in found
    gaps = [each.gap for each in subjects(6, good=float)]
    assert ranking(subjects(6, good=float), gaps)["−training loss"]["Spearman"].value < -0.99


def test_the_upper_end_is_a_measure_of_its_own():
    found = subjects(6, good=float)
    reversed_ends = [dataclasses.replace(s, bracket=(0.0, 10 - s.gap)) for s in found]
    summed = finding("part", reversed_ends)
    assert summed.of("IGS, upper end").value == pytest.approx(-1)


def test_networks_that_missed_their_loss_are_left_out():
    found = subjects(8, good=float)
    found[2] = dataclasses.replace(found[2], reached=False, gap=1e9)
    summed = finding(MATCHED, found)
    assert (summed.networks, summed.missed) == (7, 1)
    assert heading(summed).startswith(f"{MATCHED}: 7 networks, 1 more missed their loss or a min")
    assert summed.gap[1] < 1e9


def test_a_refusal_is_told_once():
    found = subjects(6, good=float)
    for place, sizes in enumerate((5, 7, 9)):
        reason = f"{sizes} eigenvalues are 0. Something else"
        found[place] = dataclasses.replace(found[place], refused={"TIC": reason})
    summed = finding("part", found)
    assert summed.refused == {"TIC": Refusal(3, "5 eigenvalues are 0")}
    assert in_text(summed).splitlines()[-1] == (
        "TIC has no value for 3 of 6, first: 5 eigenvalues are 0"
    )


def test_ratios_of_the_gap_to_its_estimates():
    summed = finding("part", subjects(6, AIC=lambda gap: gap / 2))
    assert summed.ratios == {"AIC": (2.0, 2.0, 2.0)}
    assert "gap over AIC is 2 in the mean, in [2, 2] with 95%" in in_text(summed)


def test_coefficients_are_held_beside_that_of_the_igs():
    summed = found_of()
    assert summed.beside["good"] == (0.0, 0.0)
    low, high = summed.beside["−training loss"]
    assert low == high == -2.0
    assert "bad" not in summed.beside  # a constant


def test_a_finding_comes_back_from_json():
    found = found_of(refused={"TIC": Refusal(2, "why")})
    again = finding_of(json.loads(json.dumps(stored(found))))
    assert isinstance(again, Finding)
    assert again == found


def test_a_page_has_the_same_numbers():
    found = found_of()
    page = in_page(found)
    assert page.startswith(f"**{heading(found)}.**\n\n| measure | n | Pearson |")
    for row in rows(found)[1:]:
        assert "| " + " | ".join(row) + " |" in page
