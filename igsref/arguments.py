"""What arguments must be, refused by name: Python's own errors would name none of them."""

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn


def check_type(name: str, value: Any, kind: type, expected: str) -> None:
    """Raise TypeError, with what was expected and what came, unless the value is of the kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {expected}; got {described(value)}")


def check_model(model: Any) -> None:
    """Raise TypeError unless the model is a module."""
    check_type("model", model, nn.Module, "a torch.nn.Module")


def check_tensor(name: str, value: Any) -> None:
    """Raise TypeError unless the value is a tensor."""
    check_type(name, value, Tensor, "a torch.Tensor")


def check_dense(name: str, value: Tensor) -> None:
    """Raise TypeError for a sparse or nested tensor, whose entries have no places of their own."""
    if value.is_nested or value.layout is not torch.strided:
        kind = "nested" if value.is_nested else f"of layout {value.layout}"
        raise TypeError(f"{name} must be a dense tensor; it is {kind}")


def check_sequence(name: str, value: Any, entries: str) -> None:
    """Raise TypeError unless the value is a list, or what can be indexed like one."""
    check_type(name, value, Sequence, f"a list of {entries}")


def check_number(name: str, value: Any) -> None:
    """Raise TypeError unless the value is a real number; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; got {described(value)}")


def checked_positive(name: str, value: Any, *, finite: bool = True) -> float:
    """The number. Raises TypeError unless it is one, ValueError unless positive, and finite if so.

    >>> checked_positive("seconds", float("inf"), finite=False)
    inf
    """
    check_number(name, value)
    if not (0 < value < math.inf or (value == math.inf and not finite)):
        kind = "finite and positive" if finite else "positive"
        raise ValueError(f"{name} must be {kind}; got {value}")
    return float(value)


def checked_integer(name: str, value: Any, *, least: int | None = None) -> int:
    """The value as an int. Raises TypeError unless it is an integer, ValueError below ``least``.

    Whatever can be an index is an integer, such as those of numpy; a truth value is none.

    >>> checked_integer("starts", 3, least=1)
    3
    """
    try:
        integer = operator.index(value)
    except TypeError:
        integer = None
    if integer is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer; got {described(value)}")
    if least is not None and integer < least:
        raise ValueError(f"{name} must be at least {least}; got {integer}")
    return integer


def check_generator(generator: Any) -> None:
    """Raise TypeError unless it is a generator of random numbers."""
    expected = "a torch.Generator, such as torch.Generator().manual_seed(0)"
    check_type("generator", generator, torch.Generator, expected)


def check_draw(generator: Any, strength: Any) -> None:
    """Raise TypeError for what is no generator, no number; ValueError unless 0 ≤ strength < ∞."""
    check_generator(generator)
    check_number("strength", strength)
    if not 0 <= strength < float("inf"):
        raise ValueError(f"strength must be finite and not negative; got {strength}")


def described(value: Any) -> str:
    """What came, in a few words.

    >>> described([2.0, 3]), described("sinh")
    ('a list of float, int', "str 'sinh'")
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
    kind = type(value).__name__
    if isinstance(value, list | tuple):
        kinds = dict.fromkeys(type(entry).__name__ for entry in value)
        return f"a {kind} of {', '.join(kinds)}" if kinds else f"an empty {kind}"
    if value is None or isinstance(value, bool):
        return repr(value)
    return f"{kind} {value!r}" if isinstance(value, str | Real) else f"an object of type {kind}"
