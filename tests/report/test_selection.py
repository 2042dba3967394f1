"""Of long curves the extremes are kept, of many classes and layers those that matter."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import igsref
from igsref.report.classes import ClassShare
from igsref.report.layers import LayerBounds
from igsref.report.selection import (
    MOST,
    POINTS,
    shown_classes,
    shown_eigenvalues,
    shown_layers,
    shown_samples,
    thinned,
)
from tests.report.networks import perceptron


@pytest.fixture(scope="module")
def result():
    return igsref.exact_igs(*perceptron())


def test_what_fits_is_kept_as_it_is():
    assert np.array_equal(thinned(np.zeros(POINTS)), np.arange(POINTS))


@pytest.mark.parametrize("count", [POINTS + 1, 40_000])
def test_every_stretch_of_a_logarithmic_axis_keeps_its_extremes(count):
    drawn = np.random.default_rng(0)
    curves = drawn.standard_normal((2, count))
    places = thinned(*curves)
    assert len(places) <= POINTS
    assert (np.diff(places) > 0).all()
    assert places[0] == 0 and places[-1] == count - 1
    # Stretches of a whole number of cells each, of equal width on the axis.
    cells = POINTS // 4
    edges = np.expm1(np.log1p(count) * np.arange(0, cells + 1, 50) / cells)
    for low, high in pairwise(edges):
        own = (np.arange(count) >= low) & (np.arange(count) < high)
        kept = places[(places >= low) & (places < high)]
        for curve in curves if own.any() else ():
            assert curve[kept].max() == curve[own].max()
            assert curve[kept].min() == curve[own].min()


def test_a_place_that_is_asked_for_stays():
    falling = np.arange(30_000.0)[::-1]
    asked = [20_001, 20_002, 20_003]
    assert not set(asked) <= set(thinned(falling))
    assert set(asked) <= set(thinned(falling, keep=asked))


def test_the_rank_s_edge_is_drawn_and_what_is_next_to_nothing_is_not():
    rank = 20_001
    eigenvalues = torch.cat([torch.linspace(2, 1, 25_000), torch.tensor([1e-37])]).double()
    index, values = shown_eigenvalues(eigenvalues, rank)
    assert {rank, rank + 1} <= set(index)
    assert index[-1] == 25_000
    assert np.array_equal(values, eigenvalues.numpy()[index - 1])
    assert len(index) <= POINTS + 2
    few = torch.tensor([1.0, 0.5]).double()
    for known in (0, 2):
        assert list(shown_eigenvalues(few, known)[0]) == [1, 2]


def test_samples_fall_and_keep_their_ceilings(result):
    places, score, ceiling = shown_samples(result)
    assert list(places) == list(range(1, result.num_samples + 1))
    pairs = zip(result.per_sample.tolist(), result.sample_ceiling.tolist(), strict=True)
    assert list(zip(score, ceiling, strict=True)) == sorted(pairs, reverse=True)


def test_of_many_samples_the_one_with_the_highest_ceiling_has_its_point(result):
    count = 4 * POINTS
    falling = torch.linspace(2, 1, count, dtype=torch.float64)
    ceiling = 2 + falling
    spike = count - 7  # neither the first nor the last of its cell
    ceiling[spike] = 100.0
    many = replace(result, per_sample=falling.flip(0), sample_ceiling=ceiling.flip(0))
    places, score, most = shown_samples(many)
    assert len(places) <= POINTS
    assert most.max() == 100.0
    assert places[most.argmax()] == spike + 1
    assert score[most.argmax()] == float(falling[spike])


def test_the_heaviest_classes_are_shown_by_label():
    shares = [ClassShare(label, 1, (label % 7) / 100, 0.0) for label in range(3 * MOST)]
    shown = shown_classes(shares)
    assert len(shown) == MOST
    assert shown == sorted(shown, key=lambda each: each.label)
    left = [each.share for each in shares if each not in shown]
    assert min(each.share for each in shown) >= max(left)
    assert shown_classes(shares[:3]) == shares[:3]


def test_layers_that_are_missed_most_are_shown_in_the_network_s_order():
    bounds = [LayerBounds(str(k), 1, float(k), 1.0) for k in range(MOST + 5)]
    bounds.append(LayerBounds("missed", 1, 0.0, 0.5))
    # Without any of the others the same is left: those that reach most alone go before.
    expected = [*(str(k) for k in range(6, MOST + 5)), "missed"]
    assert [each.name for each in shown_layers(bounds)] == expected
