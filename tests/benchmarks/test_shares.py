"""What a table says of a run."""

from benchmarks.shares import Found


def test_rows_say_when_each_target_was_reached():
    found = Found("x", {1: 0.5, 2: 0.95, 3: 0.9905}, 1.0)
    assert found.row() == ["x", "2", "3", "–", "0.9905", "3", "1"]
    assert found.steps_to(0.1) == 2
    assert found.steps_to(0.001) is None
