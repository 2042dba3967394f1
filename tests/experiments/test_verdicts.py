"""Each rule with numbers made up for each of its answers."""

import dataclasses

import pytest

from experiments.associations import Association
from experiments.findings import UPPER, finding
from experiments.methods import Outcome
from experiments.studies import ROWS, Study
from experiments.verdicts import Word, changes, control, poisoned, population, table
from tests.experiments.subjects import subjects


def found_with(**coefficients):
    """A part whose Spearman coefficients are (value, lower end) by name."""
    ranking = {
        name.replace("_", " "): {"Spearman": Association(value, lower, 1.0, 9)}
        for name, (value, lower) in coefficients.items()
    }
    return dataclasses.replace(finding("part", subjects(6)), ranking=ranking)


@pytest.mark.parametrize(
    ("igs", "rival", "word"),
    [
        ((0.8, 0.5), 0.7, Word.CONFIRMED),
        ((0.8, 0.5), 0.9, Word.IN_PART),
        ((0.3, -0.1), 0.2, Word.NOT),
        ((-0.8, -0.9), 0.2, Word.NOT),
    ],
)
def test_a_population_confirms_what_rises_most(igs, rival, word):
    found = found_with(IGS=igs, rival=(rival, 0.0), AIC=(0.1, -0.2))
    found.ranking[UPPER] = found.ranking["IGS"]
    verdict = population(found)
    assert verdict.word == word
    assert f"that of rival, {rival:+.2f}" in verdict.why
    assert "AIC +0.10 [-0.20, +1.00]" in verdict.why
    assert "by upper ends" not in verdict.why


def test_what_upper_ends_would_say_is_told_where_it_differs():
    found = found_with(IGS=(0.2, -0.1), rival=(0.4, 0.0))
    found.ranking[UPPER] = {"Spearman": Association(0.5, 0.1, 1.0, 9)}
    verdict = population(found)
    assert verdict.word == Word.NOT
    assert verdict.why.endswith("; by upper ends: confirmed")


def test_neither_the_igs_over_n_nor_its_upper_end_is_a_rival():
    found = found_with(IGS=(0.5, 0.1), rival=(0.2, 0.0))
    for name in ("IGS/N", UPPER):
        found.ranking[name] = {"Spearman": Association(0.9, 0.8, 1.0, 9)}
    assert population(found).word == Word.CONFIRMED


def test_an_igs_without_a_coefficient_confirms_nothing():
    assert population(found_with(rival=(0.2, 0.0))).word == Word.NOT


@pytest.mark.parametrize(("lower", "word"), [(0.1, Word.CONFIRMED), (-0.1, Word.NOT)])
def test_the_control_is_confirmed_by_an_interval_above_0(lower, word):
    found = found_with(AIC=(0.9, 0.8))
    found.ranking["IGS/N"] = {"Spearman": Association(0.6, lower, 1.0, 9)}
    assert control(found).word == word


def study(**points):
    """Accuracies in points above 90%, by method."""
    outcomes = {
        method: [Outcome(0.9 + value / 100, 0.1, 0.1, 1.0) for value in own]
        for method, own in points.items()
    }
    return Study(
        "synthetic", ROWS["synthetic"], 0.0, "chosen", dict.fromkeys(points, 0.0), outcomes
    )


@pytest.mark.parametrize(
    ("igs", "asam", "word"),
    [
        ([1.0, 1.1, 0.9], [0.9, 1.2, 0.9], Word.CONFIRMED),
        ([1.0, 1.1, 0.9], [3.0, 3.1, 2.9], Word.IN_PART),
        ([1.0, -1.1, 0.9], [0.0, 0.0, 0.0], Word.NOT),
        ([-1.0, -1.1, -0.9], [-1.1, -1.0, -0.9], Word.NOT),
    ],
)
def test_a_row_confirms_a_gain_that_its_seeds_can_tell(igs, asam, word):
    found = table(study(SGD=[0.0, 0.0, 0.0], ASAM=asam, IGS=igs))
    assert found.word == word
    assert ("ASAM is better" in found.why) == (asam[0] == 3.0)


def methods(**own):
    plain = {"gap": [1.0, 1.1, 0.9], "early gap": [1.0, 1.1, 0.9]}
    names = {"exact": "(12) exact", "pool": "(12) pool", "step": "(13) exact F⁺"}
    given = {names[name]: {"gap": gap, "early gap": early} for name, (gap, early) in own.items()}
    return {"methods": {"plain": plain, **given}}


NARROW, WIDE, LATER = [0.1, 0.2, 0.0], [1.9, 2.1, 2.0], [0.5, 0.6, 0.4]


@pytest.mark.parametrize(
    ("exact", "step", "word"),
    [
        ((NARROW, LATER), (NARROW, LATER), Word.CONFIRMED),
        ((NARROW, NARROW), (NARROW, LATER), Word.IN_PART),  # no better than an early stop
        ((NARROW, LATER), (WIDE, LATER), Word.IN_PART),
        ((WIDE, LATER), (WIDE, LATER), Word.NOT),
    ],
)
def test_wrong_labels_are_judged_by_both_equations(exact, step, word):
    found = poisoned(methods(exact=exact, pool=(NARROW, LATER), step=step))
    assert found.word == word
    assert "pool" not in found.why


def test_changes_are_seed_by_seed():
    (only,) = changes(methods(exact=([1.5, 1.0, 1.0], [1.0, 1.0, 1.2]))["methods"])
    assert only.method == "(12) exact"
    assert only.from_plain == pytest.approx([0.5, -0.1, 0.1])
    assert only.from_early == pytest.approx([0.5, 0.0, -0.2])
