"""Networks of known IGS: their brackets hold what is proven, and a wrong value is found."""

import dataclasses

import pytest

from igsref.cli.known import CHECKED, checked, smallest
from igsref.exact.decimals import Decimals
from igsref.vectors import load


@pytest.fixture(scope="module")
def few():
    return smallest()


def test_the_smallest_are_few_and_of_known_rank(few):
    assert len(few) == CHECKED
    decided = [vector for vector in load() if vector.expected.rank is not None]
    sizes = {
        vector.name: len(vector.inputs) * sum(p.numel() for p in vector.model.parameters())
        for vector in decided
    }
    assert sorted(sizes[vector.name] for vector in few) == sorted(sizes.values())[:CHECKED]


def test_brackets_hold_the_proven_values(few):
    for vector in few:
        found = checked(vector)
        low, high = map(float, found["proven"])
        assert found["right"]
        assert found["found"][0] <= low <= high <= found["found"][1]


@pytest.mark.parametrize("factor", [1 - 1e-6, 1 + 1e-6])
def test_a_number_that_is_wrong_in_the_sixth_digit_is_found(few, factor):
    vector = few[0]
    value = str(float(vector.expected.igs) * factor)
    wrong = dataclasses.replace(vector.expected, igs=Decimals(value, value))
    assert not checked(dataclasses.replace(vector, expected=wrong))["right"]
