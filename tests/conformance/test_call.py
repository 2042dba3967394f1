"""What a foreign function is given is its own, and what it gives back is a number or named."""

import functools
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import igsref
from igsref.conformance.call import (
    NotANumber,
    as_number,
    copies,
    quietly,
    takes_likelihood,
    told,
)
from igsref.transforms import Sinh


def test_what_is_written_on_copies_stays_there():
    model, data = nn.Sequential(nn.Linear(2, 2)), (torch.ones(3, 2), torch.zeros(3))
    before = model[0].weight.detach().clone()
    copied, (inputs, labels) = copies(model, data)
    copied[0].weight.data.zero_()
    inputs.zero_()
    labels.fill_(5.0)
    assert torch.equal(model[0].weight, before)
    assert torch.equal(data[0], torch.ones(3, 2))
    assert torch.equal(data[1], torch.zeros(3))


def test_a_network_in_other_coordinates_is_copied_whole():
    network = nn.Sequential(nn.Linear(2, 3, dtype=torch.float64), nn.Tanh()).eval()
    model = igsref.reparametrize(network, Sinh())
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    copied, _ = copies(model, (x, x))
    before = model(x)
    assert torch.equal(copied(x), before)
    for value in copied.parameters():
        value.data.zero_()
    assert not torch.equal(copied(x), before)
    assert torch.equal(model(x), before)


def test_warnings_and_prints_are_not_shown_and_errors_come_through(capsys):
    def warns(value, *, plus):
        warnings.warn("deprecated", stacklevel=1)
        return value + plus

    assert quietly(warns, 1, plus=2) == 3
    quietly(print, "a line for every batch")
    quietly(print, "but this", file=sys.stderr)
    assert capsys.readouterr() == ("", "but this\n")
    with pytest.raises(ZeroDivisionError):
        quietly(lambda: 1 / 0)


@pytest.mark.parametrize(
    "result", [1.5, np.float32(1.5), torch.tensor(1.5), torch.tensor([1.5], requires_grad=True)]
)
def test_whatever_float_takes_is_a_number(result):
    assert as_number(result) == 1.5


@pytest.mark.parametrize(
    ("result", "word"),
    [
        ("1.5", "str '1.5'"),
        (b"1.5", "type bytes"),
        (None, "None"),
        ([1.5], "a list of float"),
        (torch.ones(2), r"a tensor of shape \(2,\)"),
    ],
)
def test_what_is_no_number_is_told(result, word):
    with pytest.raises(NotANumber, match=f"returned .*{word}.*, no number"):
        as_number(result)


def test_only_functions_that_take_a_likelihood_are_given_one():
    def without(model, data):
        return 0.0

    def named(model, data, likelihood="categorical"):
        return 0.0

    def among_others(model, data, **options):
        return 0.0

    def by_place_only(model, data, likelihood, /):
        return 0.0

    assert not takes_likelihood(without)
    assert takes_likelihood(named)
    assert takes_likelihood(among_others)
    assert not takes_likelihood(by_place_only)
    assert takes_likelihood(functools.partial(named))
    assert takes_likelihood(igsref.exact_igs)
    assert not takes_likelihood(max)


def test_errors_are_told_in_one_line():
    assert told(ValueError("first\nsecond")) == "ValueError: first"
    assert told(KeyError()) == "KeyError"
