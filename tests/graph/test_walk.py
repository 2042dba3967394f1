"""Steps that several calls have in common."""

import pytest
import torch
from torch import nn

from igsref.graph.ledger import Stop
from igsref.graph.values import Pair, Rank, Unknown, Value
from igsref.graph.walk import Walk, as_value


def walk_with(size: int) -> tuple[Walk, Value]:
    walk = Walk({}, {}, label="here")
    return walk, Value(walk.ledger.signal(size), -1, Rank.of(2), maker=nn.Linear(2, 2))


def stopped(walk: Walk, signal: int) -> bool:
    return any((what, s) == (Stop.ALL, signal) for what, s, _ in walk.ledger.stops)


def test_a_layer_reads_the_channels_on_its_axis():
    walk, x = walk_with(3)
    assert walk.read(x, -1, 3) == x.signal
    assert not stopped(walk, x.signal)


@pytest.mark.parametrize(("axis", "size"), [(-2, 3), (-1, 4)])
def test_channels_that_a_layer_reads_otherwise_are_stopped(axis, size):
    walk, x = walk_with(3)
    other = walk.read(x, axis, size)
    assert other != x.signal
    assert stopped(walk, x.signal)
    assert stopped(walk, other)


def test_a_function_notes_what_it_is_not_and_hides_the_head():
    walk, x = walk_with(3)
    y = walk.through(x, homogeneous=False, odd=True)
    assert walk.ledger.stops == [(Stop.SCALING, x.signal, "here")]
    assert (y.signal, y.maker) == (x.signal, None)


def test_an_opaque_call_stops_all_that_it_is_given_and_returns():
    walk, x = walk_with(3)
    y = Value(walk.ledger.signal(2), -1, Rank())
    z = Value(walk.ledger.signal(2), -1, Rank())
    out = walk.opaque((x, 5, Pair(y, z)), "why")
    assert all(stopped(walk, value.signal) for value in (x, y, z, out))
    assert out.axis is None


def test_all_tensors_of_a_fixed_module_are_fixed():
    module = torch.nn.BatchNorm1d(2)
    named = {id(t): name for name, t in (*module.named_parameters(), *module.named_buffers())}
    walk = Walk(named, {})
    walk.fix(module, "why")
    assert set(walk.ledger.fixed) == set(named.values())


def test_what_is_no_tensor_is_unknown():
    with pytest.raises(Unknown):
        as_value(3)
