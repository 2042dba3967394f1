"""How right a function is on reference vectors, in digits."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from igsref.conformance.call import (
    Function,
    NotANumber,
    as_number,
    copies,
    quietly,
    takes_likelihood,
    told,
)
from igsref.exact.decimals import Decimals
from igsref.vectors import Vector

RIGHT_DIGITS = 6.0
"""From here on a value is called right."""
MOST_DIGITS = 16
"""Those of a float64; what is closer is rounding."""
CEILING_ROOM = Fraction(1, 10**6)
"""A value is above its ceiling if it exceeds it by more than this share of it, as much as a right
value may be off: the exact value is below the ceiling, so that one above is wrong as well."""

Verdict = Literal["right", "wrong", "refused", "skipped"]


@dataclass(frozen=True)
class Score:
    """A function on one reference vector.

    verdict: right from ``RIGHT_DIGITS`` digits on; refused where the function raised; skipped where
    it was not asked. error: why there is no number. ratio: value/expected, such as 1/N of one that
    leaves out a sum over samples; None where either is no number to divide by or of.
    correct_digits: −log10 of the relative error, from 0 to ``MOST_DIGITS``; None where the function
    gave no answer. seconds: of the call; None where there was none.
    """

    name: str
    verdict: Verdict
    value: float | None = None
    error: str = ""
    ratio: float | None = None
    correct_digits: float | None = None
    above_ceiling: bool = False
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite as a string."""
        return vars(self) | {"value": plain(self.value), "ratio": plain(self.ratio)}


def plain(number: float | None) -> float | str | None:
    """What JSON has a place for: a number that is not finite as a string."""
    return number if number is None or math.isfinite(number) else str(number)


def score(function: Function, vectors: Iterable[Vector]) -> tuple[Score, ...]:
    """The function on every vector, in their order.

    function: f(model, (inputs, labels)) -> number. It gets copies, model and inputs in float64. A
        vector whose likelihood is not categorical is handed to it only if it takes
        ``likelihood=``.
    """
    return tuple(_score(function, vector) for vector in vectors)


def _score(function: Function, vector: Vector) -> Score:
    options = {} if vector.likelihood == "categorical" else {"likelihood": vector.likelihood}
    if options and not takes_likelihood(function):
        reason = f"a {vector.likelihood} likelihood, and the function takes no likelihood="
        return Score(vector.name, "skipped", error=reason)
    if not _is_certified(vector.expected.igs):
        reason = f"its value is certified no better than {vector.expected.igs}"
        return Score(vector.name, "skipped", error=reason)
    given = copies(vector.model, (vector.inputs, vector.labels))
    start = time.perf_counter()
    try:
        result = quietly(function, *given, **options)
        seconds = time.perf_counter() - start
        value = as_number(result)
    except NotANumber as error:
        return Score(vector.name, "wrong", error=str(error), correct_digits=0.0, seconds=seconds)
    except (Exception, SystemExit) as error:
        seconds = time.perf_counter() - start
        return Score(vector.name, "refused", error=told(error), seconds=seconds)
    digits = correct_digits(value, vector.expected.igs)
    return Score(
        vector.name,
        "right" if digits >= RIGHT_DIGITS else "wrong",
        value,
        "" if math.isfinite(value) else f"returned {value}",
        _ratio(value, float(vector.expected.igs)),
        digits,
        above_ceiling=is_above(value, vector.expected.ceiling),
        seconds=seconds,
    )


def _ratio(value: float, expected: float) -> float | None:
    return value / expected if expected and math.isfinite(value) else None


def _is_certified(exact: Decimals) -> bool:
    """Whether the enclosure is narrower than any digit that is counted."""
    low, high = exact.fractions
    return high - low <= min(abs(low), abs(high)) / 10**MOST_DIGITS


def correct_digits(value: float, exact: Decimals) -> float:
    """−log10 of the relative error, the largest that the enclosure allows; 0 to ``MOST_DIGITS``.

    >>> round(correct_digits(1.01, Decimals("1", "1")), 9)
    2.0
    """
    if not math.isfinite(value):
        return 0.0
    low, high = exact.fractions
    size = min(abs(low), abs(high))
    error = max(abs(Fraction(value) - low), abs(Fraction(value) - high))
    if error * 10**MOST_DIGITS <= size:
        return float(MOST_DIGITS)
    return 0.0 if error >= size else max(0.0, -math.log10(error / size))


def is_above(value: float, ceiling: Decimals) -> bool:
    """Whether it exceeds the certified ceiling, by more than ``CEILING_ROOM`` of it."""
    if not math.isfinite(value):
        return value == math.inf
    return Fraction(value) > ceiling.fractions[1] * (1 + CEILING_ROOM)
