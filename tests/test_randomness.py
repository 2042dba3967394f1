"""Random states are global: borrowed, never kept."""

import pytest

from igsref.randomness import advance_random_state, preserved_random_state
from tests.random_states import draws, states


def test_the_block_leaves_no_trace():
    before = states()
    with preserved_random_state():
        draws()
        assert states() != before
    assert states() == before


def test_the_block_leaves_no_trace_when_it_fails():
    before = states()
    with pytest.raises(KeyError), preserved_random_state():
        draws()
        raise KeyError
    assert states() == before


def test_the_block_starts_from_the_state_outside():
    with preserved_random_state():
        inside = draws()
    with preserved_random_state():
        assert draws() == inside


def test_advancing_changes_the_next_number_of_every_generator():
    with preserved_random_state():
        first = draws()
    with preserved_random_state():
        advance_random_state()
        second = draws()
    assert all(a != b for a, b in zip(first, second, strict=True))
