"""Expected values: those of the certified result, rounded outwards, and nothing else."""

from fractions import Fraction

import pytest

from igsref import certify
from igsref.exact.decimals import Decimals
from igsref.vectors import load
from igsref.vectors.expected import DIGITS, expected_values, renewed
from tests.vectors.cases import small_vector

UNIT = Fraction(1, 10 ** (DIGITS - 1))
"""Of the last digit, relative to a number, at most."""


def contains(outer, inner):
    low, high = inner.fractions
    return outer.contains(low) and outer.contains(high)


def test_they_enclose_the_certified_values():
    vector = small_vector()
    data = vector.inputs, vector.labels
    certified = certify(vector.model, data, digits=60)
    expected = vector.expected
    assert expected.rank == certified.rank == 6
    assert contains(expected.igs, certified.igs)
    assert contains(expected.ceiling, certified.ceiling_enclosure)
    assert contains(expected.full_batch, certified.full_batch)
    terms = zip(expected.per_sample, certified.per_sample, strict=True)
    assert all(contains(own, told) for own, told in terms)
    assert sorted(expected.minibatch) == [1, 2, 4]
    for size, value in expected.minibatch.items():
        assert contains(value, certified.minibatch(size))


def test_the_trace_of_fisher_is_the_sum_of_its_eigenvalues():
    """tr F = (1/N) Σ_i (1 + ‖x_i‖²)(1 − ‖p_i‖²) for softmax regression, in float64."""
    vector = small_vector()
    p = vector.model(vector.inputs).detach().softmax(dim=1)
    trace = ((1 + vector.inputs.square().sum(1)) * (1 - p.square().sum(1))).mean()
    assert sum(map(float, vector.expected.eigenvalues)) == pytest.approx(float(trace), rel=1e-13)


@pytest.mark.parametrize("vector", load(), ids=lambda vector: vector.name)
def test_stored_ends_have_25_digits_and_differ_in_the_last(vector):
    expected = vector.expected
    values = [expected.igs, expected.ceiling, *expected.per_sample, *expected.eigenvalues]
    for value in values:
        for end in (value.lower, value.upper):
            digits = end.split("e")[0].replace(".", "").lstrip("0")
            assert len(digits) <= DIGITS
        assert value.fractions[0] >= 0
    sharp = [expected.ceiling, *expected.eigenvalues]
    sharp += [expected.igs] if expected.rank is not None else []
    for value in sharp:
        low, high = value.fractions
        assert high - low <= 2 * UNIT * high


def test_renewing_brings_the_same_values_and_corrects_others():
    vector = small_vector()
    wrong = Decimals("1", "1")
    object.__setattr__(vector.expected, "igs", wrong)
    again = renewed(vector)
    assert again.expected.igs != wrong
    args = vector.model, vector.inputs, vector.labels, vector.likelihood
    assert again.expected == expected_values(*args)
