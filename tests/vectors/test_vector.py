"""What a vector holds."""

import dataclasses

import pytest

from tests.vectors.cases import small_vector


def test_a_vector_does_not_change():
    vector = small_vector()
    with pytest.raises(dataclasses.FrozenInstanceError):
        vector.name = "another"
    with pytest.raises(dataclasses.FrozenInstanceError):
        vector.expected.rank = 3


def test_expected_values_are_equal_where_all_are():
    expected = small_vector().expected
    assert expected == small_vector().expected
    assert expected != dataclasses.replace(expected, rank=5)
