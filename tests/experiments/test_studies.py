"""Differences are of equal seeds, errors those of a mean, and a study comes back from JSON."""

import dataclasses
import json

import pytest

from experiments.methods import Outcome
from experiments.studies import (
    ROWS,
    Study,
    heading,
    in_page,
    in_text,
    rows,
    stored,
    study_of,
)


def outcome(accuracy, ended=""):
    return Outcome(accuracy, 0.1, 0.1, 1.0, ended)


def study(name="mnist-3fcn", **accuracies):
    outcomes = {method: [outcome(a) for a in own] for method, own in accuracies.items()}
    rhos = {"SGD": 0.0, "IGS": 0.02}
    return Study(name, ROWS[name], 0.0, "chosen", rhos, outcomes)


def test_rows_are_the_paper_s_seven_and_two_more():
    paper = [name for name in ROWS if name not in ("cifar10-resnet8", "synthetic")]
    assert len(paper) == 7
    assert ROWS["mnist-3fcn"].paper["IGS"] == 98.65


def test_differences_are_of_runs_with_one_seed():
    found = rows(study(SGD=[0.9, 0.8], IGS=[0.92, 0.82]))
    # Accuracies vary by 10 points from seed to seed; the difference of 2 does not vary.
    assert found[1] == ["SGD", "0", "2", "85.00 ± 5.00", "–", "98.13", "1"]
    assert found[2] == ["IGS", "0.02", "2", "87.00 ± 5.00", "+2.00 ± 0.00", "98.65", "1"]


def test_seeds_that_are_not_all_there_are_no_pairs():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        study(SGD=[0.9], IGS=[0.92, 0.9]).differences("IGS", "SGD")


def test_a_single_run_has_no_error():
    assert rows(study(SGD=[0.9], IGS=[0.92]))[2][3:5] == ["92.00", "+2.00"]


def test_a_radius_at_the_edge_of_what_was_tried_is_marked():
    found = dataclasses.replace(study(SGD=[0.9], IGS=[0.9]), rhos={"SGD": 0.0, "IGS": 0.005})
    assert rows(found)[2][1] == "0.005 *"
    assert in_text(found).splitlines()[-1] == "* the smallest or the largest ρ that was tried"
    assert in_page(found).endswith("Starred: the smallest or the largest ρ that was tried")
    usual = dataclasses.replace(found, choice="usual")
    assert rows(usual)[2][1] == "0.005"
    assert "tried" not in in_text(study(SGD=[0.9], IGS=[0.9]))


def test_a_run_that_ended_early_is_named():
    ended = outcome(float("nan"), ended="step 3 of epoch 1: the loss is nan")
    found = Study("synthetic", ROWS["synthetic"], 0.0, "usual", {"SGD": 0.0}, {"SGD": [ended]})
    assert in_text(found).splitlines()[-1] == "SGD: step 3 of epoch 1: the loss is nan"
    assert in_page(found).endswith("SGD: step 3 of epoch 1: the loss is nan")


def test_a_heading_says_what_was_trained():
    assert heading(study(SGD=[0.9])) == (
        "mnist-3fcn: 3fcn on all images of mnist, 6 epochs, label smoothing 0, ρ chosen"
    )
    assert "resnet8 on 5,000 images of cifar10" in heading(study("cifar10-resnet8", SGD=[0.9]))


def test_a_study_comes_back_from_json():
    found = study(SGD=[0.9, 0.8], IGS=[0.92, 0.82])
    again = study_of(json.loads(json.dumps(stored(found))))
    assert again == found
    assert in_page(again) == in_page(found)
