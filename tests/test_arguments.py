"""Arguments that are refused: their name, what was expected, what came."""

import numpy as np
import pytest
import torch
from torch import nn

from igsref.arguments import (
    check_draw,
    check_generator,
    check_model,
    check_number,
    check_sequence,
    check_tensor,
    checked_integer,
    checked_positive,
    described,
)


def test_draws_take_a_generator_and_a_finite_strength_from_zero_on():
    check_draw(torch.Generator(), 0)
    for strength in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="strength must be finite and not negative"):
            check_draw(torch.Generator(), strength)


@pytest.mark.parametrize("value", [3, np.uint8(3), torch.tensor(3), torch.tensor([3])])
def test_what_can_be_an_index_is_an_integer(value):
    found = checked_integer("unit", value)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize(
    ("value", "came"),
    [
        (True, "True"),
        (np.bool_(True), "an object of type bool"),
        (None, "None"),
        (3.0, r"float 3\.0"),
        ("3", "str '3'"),
        (torch.tensor(3.0), r"a tensor of shape \(\) and torch\.float32"),
        (torch.tensor([3, 4]), r"a tensor of shape \(2,\) and torch\.int64"),
    ],
)
def test_no_other_value_is_an_integer(value, came):
    with pytest.raises(TypeError, match=f"^unit must be an integer; got {came}"):
        checked_integer("unit", value, least=0)


def test_an_integer_may_be_its_least_and_no_smaller():
    assert checked_integer("pairs", 2, least=2) == 2
    with pytest.raises(ValueError, match=r"^pairs must be at least 2; got 1$"):
        checked_integer("pairs", 1, least=2)


def test_a_least_of_zero_is_a_bound_and_none_is_not():
    with pytest.raises(ValueError, match=r"^seed must be at least 0; got -1$"):
        checked_integer("seed", -1, least=0)
    assert checked_integer("seed", -(2**70)) == -(2**70)


def test_a_truth_value_is_no_number():
    check_number("slope", 3)
    with pytest.raises(TypeError, match="slope must be a number; got True"):
        check_number("slope", True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: check_model(nn.Linear),
            r"model must be a torch\.nn\.Module; got the class Linear",
        ),
        (
            lambda: check_tensor("scale", [1.0]),
            r"scale must be a torch\.Tensor; got a list of float",
        ),
        (lambda: check_sequence("layers", 0, "names"), "layers must be a list of names; got int 0"),
        (lambda: check_generator(None), r"generator must be a torch\.Generator, .*; got None"),
    ],
)
def test_what_is_of_another_kind_is_refused_by_name(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_descriptions_are_short():
    assert described([]) == "an empty list"
    assert described(nn.Linear(2, 2)) == "an object of type Linear"
    assert described(torch.ones(1000)) == "a tensor of shape (1000,) and torch.float32"


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("-inf")])
def test_what_is_not_positive_is_refused_by_name(value):
    for finite in (True, False):
        with pytest.raises(ValueError, match=rf"width must be .*positive; got {value}"):
            checked_positive("width", value, finite=finite)


def test_infinity_is_positive_where_it_may_be():
    assert checked_positive("width", float("inf"), finite=False) == float("inf")
    with pytest.raises(ValueError, match="width must be finite and positive; got inf"):
        checked_positive("width", float("inf"))
    with pytest.raises(TypeError, match="width must be a number; got True"):
        checked_positive("width", True)
