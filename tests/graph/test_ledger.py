"""Signals, what ties and what stops them."""

from hypothesis import given
from hypothesis import strategies as st

from igsref.graph import Place
from igsref.graph.ledger import Hold, Ledger, Partition, Role, Stop


@given(pairs=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_partition_joins_what_a_naive_search_joins(pairs):
    partition = Partition(list(range(8)))
    for one, other in pairs:
        partition.unite(one, other)
    sets = [{member} for member in range(8)]
    for one, other in pairs:
        joined = sets[one] | sets[other]
        for member in joined:
            sets[member] = joined
    assert [partition.root(member) for member in range(8)] == [min(s) for s in sets]


def chain(ledger: Ledger, *sizes: int) -> list[int]:
    return [ledger.signal(size) for size in sizes]


def read(ledger: Ledger, tensor: str, source: int, made: int) -> None:
    ledger.use(tensor, Hold(Role.PRODUCER, made, 0), Hold(Role.CONSUMER, source, 1))


def test_a_group_needs_what_makes_it_and_what_reads_it():
    ledger = Ledger()
    x, hidden, y = chain(ledger, 2, 3, 2)
    read(ledger, "first", x, hidden)
    read(ledger, "second", hidden, y)
    (group,) = ledger.groups(ledger.scaled)
    assert (group.size, group.producers, group.consumers) == (
        3,
        (Place("first", 0),),
        (Place("second", 1),),
    )


def test_coupled_signals_share_their_order_and_not_their_factors():
    ledger = Ledger()
    x, a, b, y = chain(ledger, 2, 3, 3, 2)
    read(ledger, "first", x, a)
    ledger.use("gain", Hold(Role.PRODUCER, b, 0), Hold(Role.CONSUMER, a, 0))
    read(ledger, "second", b, y)
    ledger.couple(a, b)
    assert len(ledger.groups(ledger.scaled)) == 2
    assert len(ledger.groups(ledger.permuted)) == 1


def test_a_stop_reaches_all_that_is_tied():
    ledger = Ledger()
    x, a, b, y = chain(ledger, 2, 3, 3, 2)
    read(ledger, "first", x, a)
    read(ledger, "second", b, y)
    ledger.tie(a, b)
    assert len(ledger.groups(ledger.scaled, Stop.ALL)) == 1
    ledger.stop(Stop.ALL, b, "output")
    assert ledger.groups(ledger.scaled, Stop.ALL) == ()
    assert ledger.reason(b) == "output"


def test_a_tensor_used_twice_ties_the_signals_of_both_uses():
    ledger = Ledger()
    x, a, b = chain(ledger, 3, 3, 3)
    read(ledger, "weight", x, a)
    read(ledger, "weight", a, b)
    ledger.stop(Stop.ALL, x, "input")
    ledger.settle()
    assert ledger.scaled.root(a) == ledger.scaled.root(x)
    assert ledger.groups(ledger.scaled, Stop.ALL) == ()


def test_a_tensor_used_in_two_ways_stops_all_its_signals():
    ledger = Ledger()
    signals = chain(ledger, 3, 3, 3)
    read(ledger, "weight", *signals[:2])
    ledger.use("weight", Hold(Role.PRODUCER, signals[2], 1))
    ledger.settle()
    assert {signal for _, signal, _ in ledger.stops} == set(signals)
    assert ledger.stops[0][2] == "weight is used in two ways"


def test_a_fixed_tensor_stops_its_signals():
    ledger = Ledger()
    x, a = chain(ledger, 2, 3)
    read(ledger, "weight", x, a)
    ledger.fix("weight", "used elsewhere")
    ledger.settle()
    assert [reason for _, _, reason in ledger.stops] == ["used elsewhere"] * 2
