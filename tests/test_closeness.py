"""The assertions themselves: they pass what they should, and name what they refuse."""

import pytest
import torch

from tests.closeness import EPS, assert_rows_agree, assert_within

ONES = torch.ones(2, 2, dtype=torch.float64)


def test_an_error_of_exactly_the_allowance_passes():
    assert_within(ONES + 0.5, ONES, 0.5)


def test_the_worst_entry_is_named():
    actual = ONES.clone()
    actual[1, 0] = 4.0
    with pytest.raises(AssertionError, match=r"entry \(1, 0\): got 4, expected 1, 6 times"):
        assert_within(actual, ONES, 0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_does_not_agree_with_what_is(value):
    with pytest.raises(AssertionError, match="entry"):
        assert_within(ONES * value, ONES, 1e300)


def test_shapes_are_not_broadcast():
    with pytest.raises(AssertionError, match="shape"):
        assert_within(ONES[:1], ONES, 1.0)


def test_rows_are_judged_by_their_own_largest_entry():
    rows = torch.tensor([[1e8, 1.0], [1.0, 1.0]], dtype=torch.float64)
    change = torch.tensor([[0.0, 1e-7], [0.0, 0.0]], dtype=torch.float64)
    assert_rows_agree(rows + change, rows)
    with pytest.raises(AssertionError, match=r"entry \(1, 1\)"):
        assert_rows_agree(rows + change.flip(0), rows)
    assert_rows_agree(rows * (1 + 8 * EPS), rows)
