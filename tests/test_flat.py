"""θ as one vector and back."""

import pytest
import torch

from igsref.flat import flatten, ranges, unflatten

NAMED = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7.0), "c": torch.arange(8.0, 10.0)}


def test_unflatten_undoes_flatten():
    back = unflatten(flatten(NAMED), NAMED)
    assert list(back) == list(NAMED)
    assert all(torch.equal(back[name], value) for name, value in NAMED.items())


def test_ranges_are_where_flatten_puts_the_entries():
    flat = flatten(NAMED)
    for name, where in ranges(NAMED).items():
        assert torch.equal(flat[where], NAMED[name].reshape(-1))


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"flat must have shape \(9,\); got \(8,\)"):
        unflatten(torch.zeros(8), NAMED)
