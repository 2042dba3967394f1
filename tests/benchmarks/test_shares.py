"""What a table says of a run."""

from benchmarks.shares import Found


def test_rows_say_when_each_target_was_reached():
    found = Found("x", {1: 0.5, 2: 0.95, 3: 0.9905}, {1: 3.0, 2: 5.0, 3: 8.4})
    assert found.row() == ["x", "2 (5 s)", "3 (8 s)", "–", "0.9905", "3", "8"]
    assert found.steps_to(0.1) == 2
    assert found.steps_to(0.001) is None


def test_what_overshoots_has_not_arrived():
    found = Found("x", {10: 3.7, 30: 1.0005}, {10: 1.0, 30: 2.0})
    assert found.steps_to(0.001) == 30


def test_a_route_that_takes_no_steps_is_there_at_once():
    assert Found("dense", {0: 1.0}, {0: 7.0}).row()[1:4] == ["0 (7 s)"] * 3
