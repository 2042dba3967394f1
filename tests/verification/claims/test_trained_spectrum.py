"""Counts by inertia and shares by filters, where the spectrum is known."""

import pytest
from flint import arb, arb_mat, ctx

from verification.claims.claim import Disproved
from verification.claims.trained_spectrum import (
    BITS,
    CLASSES,
    ORDER,
    SAMPLES,
    TrainedSpectrum,
    inertia_above,
    slack,
    trained_spectrum,
)

# Eigenvalues 9 and 1, eigenvectors (2, 1)/√5 and (1, −2)/√5.
MATRIX = [[arb(37) / 5, arb(16) / 5], [arb(16) / 5, arb(13) / 5]]


@pytest.fixture
def known() -> TrainedSpectrum:
    with ctx.workprec(BITS):
        matrix = arb_mat([[arb(37) / 5, arb(16) / 5], [arb(16) / 5, arb(13) / 5]])
        return TrainedSpectrum(matrix, (0,), (arb(1) / 2,), 1.0, (9.0, 1.0))


@pytest.mark.parametrize(("threshold", "count"), [(0.5, 2), (1.5, 1), (8.0, 1), (9.5, 0)])
def test_inertia_counts_the_eigenvalues_above(threshold, count):
    assert inertia_above(MATRIX, arb(threshold)) == count


def test_a_threshold_on_an_eigenvalue_is_refused():
    with pytest.raises(Disproved, match="undecided"):
        inertia_above(MATRIX, arb(9))


@pytest.mark.parametrize("weight", [0, 1])
def test_filters_weigh_the_parts_of_each_eigenvector(known, weight):
    scale = 3.0
    through = [
        arb(value) ** ORDER / (arb(value) ** ORDER + arb(scale) ** ORDER) for value in (9, 1)
    ]
    first = arb(4) / 5 * arb(9) ** weight * through[0]
    second = arb(1) / 5 * arb(1) ** weight * through[1]
    parts, trace = known.filtered(scale, weight)
    assert parts.overlaps((first + second) * 2)
    assert trace.overlaps(9 * through[0] + through[1])


def test_slack_makes_up_for_what_a_filter_misses(known):
    """1 ≤ (1 + (s/t)^q) λ^q/(λ^q + s^q) at t = λ, with equality."""
    passed = arb(9) ** ORDER / (arb(9) ** ORDER + arb(3) ** ORDER)
    assert (slack(3.0, 9.0) * passed).overlaps(arb(1))


def test_the_trained_network_fits_its_samples_and_its_balls_are_tight():
    spectrum = trained_spectrum()
    assert spectrum.accuracy == 1.0
    assert spectrum.gram.nrows() == SAMPLES * CLASSES
    assert spectrum.trace().rel_accuracy_bits() > BITS / 2
    assert spectrum.count_above(1e-12) <= SAMPLES * (CLASSES - 1)
