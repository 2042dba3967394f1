"""Captions say what their figure shows of this very result, and what it leaves out."""

from dataclasses import replace

import pytest
import torch

import igsref
from igsref.report import captions as module
from igsref.report.captions import (
    captions,
    of_bracket,
    of_classes,
    of_criterion,
    of_layers,
    of_samples,
    of_spectrum,
)
from igsref.report.classes import ClassShare
from igsref.report.layers import LayerBounds
from igsref.report.selection import MOST, POINTS
from tests.report.networks import images, perceptron


@pytest.fixture(scope="module")
def iterated():
    return igsref.matrixfree_igs(*images())


def test_every_figure_has_one(findings):
    assert set(captions(findings)) == {"bracket", "samples", "spectrum", "classes", "layers"}
    bare = replace(findings, spectrum=None, classes=(), layers=())
    assert set(captions(bare)) == {"bracket", "samples"}


def test_a_bracket_is_as_certain_as_its_grade(findings, iterated):
    result = findings.result
    proven = replace(result, grade="verified", rank_source="rows")
    assert of_bracket(proven).endswith("this is proven.")
    estimated = of_bracket(replace(proven, grade="estimated"))
    assert estimated.endswith("as far as an estimate of rounding is right.")
    trusted = of_bracket(replace(proven, rank_source="rank_bound", rank_upper=7))
    assert trusted.endswith("this is proven, given that F has rank 7 at most (rank_bound).")
    drawn = replace(iterated, standard_error=0.25, estimated_gap=0.5)
    assert of_bracket(drawn).endswith(
        "with a standard error of 0.25. More steps might add 0.5 to it, also an estimate."
    )


def test_eigenvalues_are_counted_as_the_figure_shows_them(findings):
    result = replace(findings.result, rank=3, num_parameters=10)
    values = torch.tensor([1.0, 0.5, 0.1, 1e-33, 1e-37, 0.0]).double()
    text = of_spectrum(values, result)
    assert "The 6 largest eigenvalues λ of F; the other 4 are 0." in text
    assert "Blue: the 3 that the numerical rank counts. Grey: further ones" in text
    assert "Not drawn: 2 of at most 1e-36 of the largest one." in text
    assert "½λε² nats" in text
    full = of_spectrum(values[:3], replace(result, num_parameters=3))
    assert full.startswith("All 3 eigenvalues λ of F. ")
    assert "All that are drawn count in the numerical rank." in full
    assert "Grey" not in full
    assert "Not drawn" not in full
    assert "in every narrow part" not in full


def test_a_step_along_an_eigenvector_moves_the_predictions_by_what_the_caption_says():
    problem = igsref.as_problem(*images())
    found = igsref.spectrum(problem, k=1)
    value, vector = float(found.eigenvalues[0]), found.eigenvectors[:, 0]
    step, start, moved = 1e-4, 0, {}
    for name, old in problem.function.parameters.items():
        part = vector[start : start + old.numel()].view_as(old)
        moved[name], start = old + step * part, start + old.numel()
    before = problem.logits.log_softmax(dim=1)
    after = problem.at(moved).log_softmax(dim=1)
    divergence = float((before.exp() * (before - after)).sum(dim=1).mean())
    # The next term is of third order in the step: 1e-4 of this one, times numbers of order one.
    assert divergence == pytest.approx(value * step**2 / 2, rel=1e-2)


def test_a_thinned_curve_says_how_many_points_it_has(findings):
    count = POINTS + 7000
    falling = torch.logspace(0, -6, count, dtype=torch.float64)
    result = replace(
        findings.result,
        per_sample=falling,
        sample_ceiling=falling,
        num_samples=count,
        rank=count,
    )
    points = len(module.shown_samples(result)[0])
    assert points <= POINTS
    assert f"Of {count} samples {points} have a point" in of_samples(findings.problem, result)
    points = len(module.shown_eigenvalues(falling, count)[0])
    assert f"Of {count} eigenvalues {points} have a point" in of_spectrum(falling, result)


def test_scores_and_their_ceiling_are_what_the_caption_says(findings):
    result, problem = findings.result, findings.problem
    text = of_samples(problem, result)
    losses = problem.likelihood.loss(problem.labelled_logits, problem.targets)
    assert torch.allclose(result.sample_ceiling, result.pool_size * losses.expm1(), rtol=1e-12)
    assert f"ceiling, {result.pool_size} · expm1(loss) over the number of times" in text
    assert float(result.per_sample.mean()) == pytest.approx(result.value, rel=1e-12)
    assert "their mean is the IGS." in text
    assert "Not drawn" not in text
    assert "in every narrow part" not in text
    score = result.per_sample.clone()
    score[0] = 0.0
    one = of_samples(problem, replace(result, per_sample=score))
    assert "Not drawn: scores of at most 1e-12 of the largest ceiling, here 1." in one


def test_an_iteration_has_lower_ends(findings, iterated):
    text = of_samples(findings.problem, iterated)
    assert float(iterated.per_sample.mean()) == pytest.approx(iterated.lower, rel=1e-12)
    assert "the lower end of a sample's score" in text
    assert "their mean is the lower end of the IGS." in text
    assert "share of the lower end of the IGS" in of_classes(findings.classes, iterated)


def test_labels_that_are_no_classes_have_no_formula_of_the_loss():
    model, (x, _) = perceptron()
    labels = torch.zeros(len(x), 3, dtype=torch.float64)
    problem = igsref.as_problem(model, (x, labels), likelihood="gaussian")
    assert "expm1" not in of_samples(problem, igsref.exact_igs(problem))


def test_a_bar_passes_its_tick_where_the_class_is_nearer_to_its_ceiling(findings):
    result = findings.result
    assert "a bar may pass its tick" in of_classes(findings.classes, result)
    energies = zip(result.per_sample, result.sample_ceiling, strict=True)
    assert all(float(score) <= float(most) for score, most in energies)
    whole = float(result.per_sample.sum() / result.sample_ceiling.sum())
    labels = torch.arange(result.num_samples) % 3
    passed = set()
    for each in findings.classes:
        own = labels == each.label
        nearer = float(result.per_sample[own].sum() / result.sample_ceiling[own].sum()) > whole
        assert nearer == (each.share > each.ceiling_share)
        passed.add(nearer)
    assert passed == {True, False}


def test_of_many_classes_and_layers_their_numbers_are_said(findings):
    result = findings.result
    shares = [ClassShare(label, 1, 0.01, 0.01) for label in range(100)]
    assert f"Shown are {MOST} of 100 classes, those with the largest" in of_classes(shares, result)
    assert "Shown" not in of_classes(shares[:MOST], result)
    bounds = [LayerBounds(str(k), 1, 0.1, 0.2) for k in range(37)]
    assert f"Shown are {MOST} of 37 layers, those without which" in of_layers(bounds)
    assert "Shown" not in of_layers(bounds[:MOST])


def test_the_igs_over_n_is_an_estimate_where_theory_applies_only(findings):
    result = findings.result
    many = replace(result, num_samples=1000, pool_size=1000, num_parameters=16)
    assert of_criterion(many).startswith("IGS / N estimates by how many nats")
    few = replace(many, num_parameters=1000)
    assert "no estimate of the generalisation gap" in of_criterion(few)
    pooled = of_criterion(replace(many, pool_size=2000))
    assert "With a pool IGS / N is left out" in pooled
