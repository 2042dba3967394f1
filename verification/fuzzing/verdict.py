"""What the library may do with any input: a result without contradictions, or a named refusal."""

import ast
import math
import re
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import igsref
from igsref import Certified, Decimals, Result

REFUSALS = (TypeError, ValueError, MemoryError, ArithmeticError, FileNotFoundError)
ACCEPTED = "accepted"
PACKAGE = Path(igsref.__file__).parent
SLOW = 120.0
"""Seconds that no call on these small inputs may take."""
_NAMES = (
    "model parameter parameters params data inputs input x labels label logits likelihood "
    "probabilities fisher_data members rank_bound memory digits option ceiling derivatives"
)
_UNIT = 2.0**-53


@dataclass(frozen=True)
class Outcome:
    """What came of one call: accepted, or the name of the exception; and what is wrong with it."""

    kind: str
    wrong: tuple[str, ...] = ()
    value: Any = None
    message: str = ""


class TooLong(BaseException):
    """Raised inside a call that does not end."""


def limited(judge: Callable[[], dict[str, Outcome]]) -> dict[str, Outcome]:
    """What a judge finds, or that it took longer than ``SLOW``. For the main thread only."""

    def give_up(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, SLOW)
    try:
        return judge()
    except TooLong:
        return {"any": Outcome("too long", (f"it took more than {SLOW:g} s",))}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(
    call: Callable[[], Any], check: Callable[[Any], Iterator[str]], names: str = _NAMES
) -> Outcome:
    """Run a call; judge its result by ``check``, its exception by :func:`objections`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = call()
        except Exception as error:
            return Outcome(type(error).__name__, tuple(objections(error, names)), None, str(error))
        try:
            return Outcome(ACCEPTED, tuple(check(value)), value)
        except Exception as error:
            wrong = f"a result that cannot be read: {_described(error)}"
            return Outcome(ACCEPTED, (wrong,), value)


def objections(error: Exception, names: str = _NAMES) -> Iterator[str]:
    """Why an exception is no refusal: its type, its place, its words."""
    own = type(error).__module__.split(".")[0] == "igsref"
    if not (type(error) in REFUSALS or (own and isinstance(error, REFUSALS))):
        yield f"{_described(error)} is no named refusal"
        return
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if PACKAGE not in Path(frame.filename).parents or not _raises(frame.filename, frame.lineno):
        yield f"{_described(error)} is not raised by igsref itself"
    message = str(error)
    if "internal error" in message:
        yield f"{_described(error)} says that the library is wrong"
    if not set(re.findall(r"\w+", message)) & set(names.split()):
        yield f"{_described(error)} names no argument"


def _described(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}({message!r}) at {Path(frame.filename).name}:{frame.lineno}"


@cache
def _raise_lines(filename: str) -> frozenset[int]:
    tree = ast.parse(Path(filename).read_text())
    return frozenset(
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    )


def _raises(filename: str, line: int | None) -> bool:
    """Whether that line belongs to a raise statement, and not to one that failed."""
    return line in _raise_lines(filename)


def contradictions(result: Result) -> Iterator[str]:
    """What in a result cannot be."""
    ends = (0.0, result.lower, result.value, result.upper, result.ceiling)
    if not all(low <= high for low, high in pairwise(ends)):
        yield f"0 ≤ lower ≤ value ≤ upper ≤ ceiling is not true of {ends[1:]}"
    # An upper end may be ∞: it says that nothing is known.
    yield from (
        f"{name} is {getattr(result, name)}"
        for name in ("lower", "value", "loss")
        if not math.isfinite(getattr(result, name))
    )
    if math.isnan(result.rounding_error):
        yield "rounding_error is NaN"
    if not 0 <= result.rank_lower <= result.rank_upper:
        yield f"0 ≤ rank_lower ≤ rank_upper is not true of {result.rank_lower}, {result.rank_upper}"
    if math.isnan(result.margin):
        yield "margin is NaN"
    yield from _sample_contradictions(result)
    str(result)
    if Result.from_json(result.to_json()) != result:
        yield "the result differs from what its own JSON holds"


def _sample_contradictions(result: Result) -> Iterator[str]:
    """Of the numbers per sample, and of G."""
    terms, most = result.per_sample, result.sample_ceiling
    if not bool(terms.isfinite().all() and most.isfinite().all()):
        yield f"per_sample {terms.tolist()} or sample_ceiling {most.tolist()} is not finite"
        return
    if not bool(((terms >= 0) & (terms <= most)).all()):
        yield f"0 ≤ per_sample ≤ sample_ceiling is not true of {terms.tolist()}, {most.tolist()}"
    # A mean of N numbers that are not negative, and the sum, are good to N + 1 roundings each.
    slack = 2 * (len(terms) + 1) * _UNIT
    mean = float(terms.mean())
    if not result.lower * (1 - slack) <= mean <= result.upper * (1 + slack):
        yield f"the mean {mean} of per_sample is outside [{result.lower}, {result.upper}]"
    if not 0 <= result.full_batch.lower <= result.full_batch.upper <= result.upper * (1 + slack):
        yield f"0 ≤ G ≤ IGS is not true of {result.full_batch} and {result.upper}"


def contradictions_of_certified(certified: Certified) -> Iterator[str]:
    """What in a certified result cannot be."""
    low, high = certified.igs.fractions
    if not low <= high <= certified.ceiling_enclosure.fractions[1]:
        yield f"lower ≤ upper ≤ ceiling is not true of {certified.igs}, {certified.ceiling}"
    if high < 0:
        yield f"a negative IGS, {certified.igs}"
    if certified.full_batch.fractions[0] > high:
        yield f"G = {certified.full_batch} exceeds IGS = {certified.igs}"
    for term, most in zip(certified.per_sample, certified.sample_ceiling, strict=True):
        if term.fractions[0] > most.fractions[1] or term.fractions[1] < 0:
            yield f"0 ≤ per_sample ≤ sample_ceiling is not true of {term}, {most}"
    str(certified)


def disagreements(result: Result, certified: Certified) -> Iterator[str]:
    """Two results of one problem that cannot both be right."""
    pairs = {
        "IGS": ((result.lower, result.upper), certified.igs),
        "G": ((result.full_batch.lower, result.full_batch.upper), certified.full_batch),
    }
    if result.grade == "verified":
        for name, (ends, proven) in pairs.items():
            if not _meet(ends, proven):
                yield f"{name}: float64's bracket {ends} and the certified {proven} do not meet"
    if certified.rank is not None and not (
        result.rank_lower <= certified.rank <= result.rank_upper
    ):
        yield (
            f"the exact rank {certified.rank} is outside [{result.rank_lower}, {result.rank_upper}]"
        )


def unequal(first: Outcome, second: Outcome) -> Iterator[str]:
    """A problem that exact_igs refuses and certify takes, but for what only floats cannot do."""
    floats = re.compile("memory|overflows|derivatives|differentiated")
    refused = second.kind == ACCEPTED != first.kind
    if refused and not first.wrong and not floats.search(first.message):
        yield f"certify takes what exact_igs refuses: {first.message}"


def _meet(ends: tuple[float, float], proven: Decimals) -> bool:
    """Whether two enclosures of one number have a number in common."""
    low, high = proven.fractions
    return Fraction(ends[0]) <= high and low <= Fraction(ends[1])
