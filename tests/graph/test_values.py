"""Ranks that are found later."""

import pytest

from igsref.graph.values import TRAINING, Rank, Unknown, told


def test_a_rank_found_once_is_known_of_all_derived_results():
    tokens = Rank()
    embedded = tokens.plus(1)
    logits = embedded.plus(-1)
    assert embedded.known is None
    logits.require(2)
    assert (tokens.known, embedded.known) == (2, 3)


def test_ranks_of_two_inputs_are_found_apart():
    one, other = Rank(), Rank()
    one.require(2)
    assert other.known is None


def test_a_rank_that_contradicts_what_is_known_is_unknown():
    rank = Rank.of(3)
    rank.require(3)
    with pytest.raises(Unknown) as error:
        rank.require(4)
    assert "3 axes where 4" in error.value.reason


def test_reasons_are_told_once_with_the_remedy_at_the_end_where_there_is_one():
    assert told(["tanh", "relu", "tanh"]) == "tanh; relu"
    assert told([f"1 drops {TRAINING}", "tanh"]) == f"1 drops {TRAINING}; tanh; call model.eval()"
    assert told([]) == ""
