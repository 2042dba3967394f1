"""A call of a function that is not ours: on copies, so that it can spoil nothing for the next."""

import copy
import inspect
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from torch import Tensor, nn

from igsref.arguments import described

Function = Callable[..., Any]
"""f(model, (inputs, labels)) -> a number, or what ``float`` takes; ``likelihood=`` if it knows."""


class NotANumber(TypeError):
    """The function returned what is no number."""


def copies(model: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Model and data, to be written on."""
    return copy.deepcopy(model), tuple(tensor.clone() for tensor in data)


def quietly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What the function returns; its warnings and what it prints are dropped, but for stderr.

    Raises what it raises.
    """
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def as_number(result: Any) -> float:
    """The number that came back. Raises NotANumber for anything else, a string of digits too."""
    if isinstance(result, str | bytes):
        raise NotANumber(f"returned {described(result)}, no number")
    try:
        return quietly(float, result)  # torch warns of a tensor with a gradient
    except (Exception, SystemExit) as error:
        raise NotANumber(f"returned {described(result)}, no number") from error


def takes_likelihood(function: Function) -> bool:
    """Whether ``likelihood=`` may be said to it, by name or among others."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False  # written in C, say: nothing is known
    kinds = [parameter.kind for parameter in parameters.values()]
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return True
    named = parameters.get("likelihood")
    return named is not None and named.kind in (named.POSITIONAL_OR_KEYWORD, named.KEYWORD_ONLY)


def told(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).splitlines()
    kind = type(error).__name__
    return f"{kind}: {lines[0]}" if lines else kind
