"""Each rule with numbers made up for each of its answers."""

import dataclasses

import pytest

from experiments.associations import Association
from experiments.findings import UPPER, finding
from experiments.methods import Outcome
from experiments.studies import ROWS, Study
from experiments.verdicts import (
    PENALTY,
    STEP,
    Word,
    changes,
    control,
    poisoned,
    population,
    table,
)
from tests.experiments.subjects import subjects


def found_with(beside=None, ratios=None, **coefficients):
    """A part whose Spearman coefficients are (value, lower end) by name."""
    ranking = {
        name.replace("_", " "): {"Spearman": Association(value, lower, 1.0, 9)}
        for name, (value, lower) in coefficients.items()
    }
    ranking.setdefault(UPPER, ranking.get("IGS", {"Spearman": None}))
    return dataclasses.replace(
        finding("part", subjects(6)), ranking=ranking, beside=beside or {}, ratios=ratios or {}
    )


SURELY_SMALLER = dict.fromkeys(("−training loss", "IGS ceiling", "AIC"), (-0.9, -0.1))


@pytest.mark.parametrize(
    ("igs", "beside", "word"),
    [
        ((0.8, 0.5), {"rival": (-0.3, 0.1)}, Word.CONFIRMED),
        ((0.8, 0.5), {"rival": (0.1, 0.3)}, Word.IN_PART),  # surely larger
        ((0.8, 0.5), {"AIC": (-0.3, 0.1)}, Word.IN_PART),  # a baseline not surely smaller
        ((0.3, -0.1), {}, Word.NOT),
        ((-0.8, -0.9), {}, Word.NOT),
    ],
)
def test_a_population_confirms_what_surely_rises_most(igs, beside, word):
    verdict = population(found_with(SURELY_SMALLER | beside, IGS=igs, AIC=(0.1, -0.2)))
    assert verdict.word == word
    assert "AIC +0.10 [-0.20, +1.00]" in verdict.why
    larger = "rival" if beside.get("rival", (0,))[0] > 0 else "none"
    assert verdict.why.endswith(f"surely larger are {larger}")


def test_what_upper_ends_would_say_is_told_where_it_differs():
    found = found_with(SURELY_SMALLER, IGS=(0.2, -0.1))
    found.ranking[UPPER] = {"Spearman": Association(0.5, 0.1, 1.0, 9)}
    verdict = population(found)
    assert verdict.word == Word.NOT
    assert verdict.why.endswith("; by upper ends: confirmed")


def test_neither_the_igs_over_n_nor_its_upper_end_is_a_rival():
    found = found_with(SURELY_SMALLER | {"IGS/N": (0.1, 0.2), UPPER: (0.1, 0.2)}, IGS=(0.5, 0.1))
    assert population(found).word == Word.CONFIRMED


def test_an_igs_without_a_coefficient_confirms_nothing():
    assert population(found_with(rival=(0.2, 0.0))).word == Word.NOT


def test_many_rivals_are_counted():
    rivals = {f"rival {number}": (0.1, 0.2) for number in range(5)}
    why = population(found_with(rivals, IGS=(0.5, 0.1))).why
    assert why.endswith("surely larger are rival 0, rival 1, rival 2 and 2 others")


@pytest.mark.parametrize(
    ("lower", "ratio", "word"),
    [
        (0.1, (1.0, 0.9, 1.1), Word.CONFIRMED),
        (0.1, (1.0, 0.7, 1.1), Word.IN_PART),
        (0.1, (3.0, 2.9, 3.1), Word.IN_PART),  # it rises, three times too small
        (-0.1, (1.0, 0.9, 1.1), Word.NOT),
    ],
)
def test_the_control_is_confirmed_by_its_size_too(lower, ratio, word):
    found = found_with(ratios={"IGS/N": ratio, "AIC": (0.7, 0.6, 0.8)}, AIC=(0.9, 0.8))
    found.ranking["IGS/N"] = {"Spearman": Association(0.6, lower, 1.0, 9)}
    verdict = control(found)
    assert verdict.word == word
    assert f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}] of IGS/N" in verdict.why


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
    assert found.why.endswith("surely better than IGS: ASAM" if asam[0] == 3.0 else ": none")


def test_two_seeds_a_lost_training_or_a_missing_method_confirm_nothing():
    few = table(study(SGD=[0.0, 0.0], IGS=[1.0, 1.0]))
    assert few == (Word.NOT, "2 seeds do not tell")
    lost = table(study(SGD=[0.0, 0.0, 0.0], IGS=[1.0, float("nan"), 1.0]))
    assert lost == (Word.NOT, "trainings ended early")
    assert table(study(SGD=[0.0] * 3, SAM=[1.0] * 3)).word == Word.NOT_RUN


def methods(**own):
    """Gap, early gap and share of wrong labels learnt, by method."""
    plain = {"gap": [1.0, 1.1, 0.9], "early gap": [1.0, 1.1, 0.9], "wrong learnt": [0.5, 0.6, 0.4]}
    names = {"exact": PENALTY, "pool": "(12) pool", "step": STEP}
    given = {
        names[name]: {"gap": gap, "early gap": early, "wrong learnt": learnt}
        for name, (gap, early, learnt) in own.items()
    }
    return {"methods": {"plain": plain, **given}}


NARROW, WIDE, LATER = [0.1, 0.2, 0.0], [1.9, 2.1, 2.0], [0.5, 0.6, 0.4]
FEW, MANY = [0.1, 0.1, 0.1], [0.9, 0.8, 0.9]


@pytest.mark.parametrize(
    ("exact", "step", "word"),
    [
        ((NARROW, LATER, FEW), (NARROW, LATER, FEW), Word.CONFIRMED),
        ((NARROW, NARROW, FEW), (NARROW, LATER, FEW), Word.IN_PART),  # no better than stopping
        ((NARROW, LATER, MANY), (NARROW, LATER, FEW), Word.IN_PART),
        ((NARROW, LATER, MANY), (WIDE, LATER, MANY), Word.IN_PART),
        ((WIDE, LATER, FEW), (WIDE, LATER, MANY), Word.IN_PART),
        ((WIDE, LATER, MANY), (WIDE, LATER, MANY), Word.NOT),
    ],
)
def test_wrong_labels_are_judged_by_both_equations(exact, step, word):
    found = poisoned(methods(exact=exact, pool=(NARROW, LATER, FEW), step=step))
    assert found.word == word
    assert "pool" not in found.why


def test_a_method_that_is_missing_confirms_nothing():
    with pytest.raises(KeyError):
        poisoned(methods(exact=(NARROW, LATER, FEW)))


def test_changes_are_seed_by_seed():
    gaps = [1.5, 1.0, 1.0], [1.0, 1.0, 1.2], [0.5, 0.5, 0.6]
    (only,) = changes(methods(exact=gaps)["methods"])
    assert only.method == PENALTY
    assert only.from_plain == pytest.approx([0.5, -0.1, 0.1])
    assert only.from_early == pytest.approx([0.5, 0.0, -0.2])
    assert only.learnt == pytest.approx([0.0, -0.1, 0.2])
