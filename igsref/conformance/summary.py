"""Everything about one function: its digits, before and after bad scaling, and the laws."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, SupportsIndex, get_args

from tqdm import tqdm

from igsref.conformance.call import Function
from igsref.conformance.invariance import EXAMPLES, Law, LawVerdict, laws
from igsref.conformance.scores import (
    CEILING_ROOM,
    MOST_DIGITS,
    RIGHT_DIGITS,
    Score,
    Verdict,
    score,
)
from igsref.conformance.twins import DECADES, badly_scaled
from igsref.testing import TRANSFORMATIONS
from igsref.vectors import Vector

_CASE_VERDICTS: tuple[str, ...] = get_args(Verdict)
_LAW_VERDICTS: tuple[str, ...] = get_args(LawVerdict)


@dataclass(frozen=True)
class Conformance:
    """What was found of a function.

    scores: on the vectors. scaled: on the badly scaled twins of some, under the same names. laws:
    one per transformation.
    """

    scores: tuple[Score, ...]
    scaled: tuple[Score, ...]
    laws: tuple[Law, ...]

    @property
    def passed(self) -> bool:
        """Whether all that was asked is right, and all laws hold. Nothing asked is no pass."""
        verdicts = {found.verdict for found in (*self.scores, *self.scaled)}
        return "right" in verdicts and verdicts <= {"right", "skipped"} and self._lawful

    @property
    def _lawful(self) -> bool:
        return all(law.verdict == "holds" for law in self.laws)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "passed": self.passed,
            "scores": [found.to_dict() for found in self.scores],
            "scaled": [found.to_dict() for found in self.scaled],
            "laws": [law.to_dict() for law in self.laws],
        }


def conformance(
    function: Function, vectors: Iterable[Vector], *, examples: SupportsIndex = EXAMPLES
) -> Conformance:
    """The function on the vectors, on their badly scaled twins and under every transformation.

    function: f(model, (inputs, labels)) -> number. examples: random networks a transformation.
    Raises ValueError for fewer than one example.
    """
    plain = tuple(vectors)
    under = tuple(
        law
        for name in _shown(TRANSFORMATIONS, "laws")
        for law in laws(function, examples=examples, transformations=[name])
    )
    return Conformance(
        score(function, _shown(plain, "vectors")),
        score(function, _shown(badly_scaled(plain), "badly scaled")),
        under,
    )


def _shown(items: Iterable[Any], what: str) -> Iterable[Any]:
    """A bar on a terminal."""
    return tqdm(items, desc=what, leave=False, disable=None)


def report(found: Conformance) -> str:
    """Tables of verdicts in plain text: one line a case, one line a law, and the sums."""
    twins = {entry.name: entry for entry in found.scaled}
    heads: tuple[str, ...] = ("case", "verdict", "digits", "value/expected", "above ceiling")
    rows = [(*heads, "seconds", "")]
    for entry in found.scores:
        rows.append(_case(entry.name, entry))
        if entry.name in twins:
            rows.append(_case("  badly scaled", twins[entry.name]))
    heads = ("law", "verdict", "networks", "deviation", "allowed", "refused", "")
    parts = [_table(rows), _table([heads, *map(_line, found.laws)]), _sums(found)]
    return "\n\n".join(parts)


def _case(name: str, entry: Score) -> tuple[str, ...]:
    numbers = [
        "–" if number is None else f"{number:{form}}"
        for number, form in (
            (entry.correct_digits, ".1f"),
            (entry.ratio, ".6g"),
            (entry.seconds, ".3f"),
        )
    ]
    digits, ratio, seconds = numbers
    above = "yes" if entry.above_ceiling else ""
    return name, entry.verdict, digits, ratio, above, seconds, entry.error


def _line(law: Law) -> tuple[str, ...]:
    numbers = ["–" if share is None else f"{share:.1e}" for share in (law.worst, law.allowed)]
    refused = f"{law.refused} of {law.examples}" if law.refused else ""
    said = "; ".join(filter(None, [str(law.breach) if law.breach else "", law.error]))
    return law.transformation, law.verdict, str(law.examples), *numbers, refused, said


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: two to the left, numbers to the right, what was said at the end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, second, *numbers, said in rows:
        cells = [first.ljust(widths[0]), second.ljust(widths[1])]
        cells += map(str.rjust, numbers, widths[2:])
        lines.append("  ".join([*cells, said]).rstrip())
    return "\n".join(lines)


def _sums(found: Conformance) -> str:
    """How many of each verdict; median and worst digits; what the words mean."""
    under = ", ".join(_counted((law.verdict for law in found.laws), _LAW_VERDICTS))
    lines = [
        f"as given: {_sum(found.scores)}",
        f"badly scaled: {_sum(found.scaled)}",
        f"laws: {under}",
        f"right: {RIGHT_DIGITS:g} or more of at most {MOST_DIGITS} digits",
        f"above the ceiling: by more than {float(CEILING_ROOM):g} of it",
        f"badly scaled: hidden units times 10^({DECADES:g}·N(0,1)), rounded to powers of two",
        "passed" if found.passed else "not passed",
    ]
    return "\n".join(lines)


def _sum(scores: Sequence[Score]) -> str:
    parts = _counted((entry.verdict for entry in scores), _CASE_VERDICTS)
    parts.append(f"{sum(entry.above_ceiling for entry in scores)} above the ceiling")
    digits = digits_of(scores)
    if digits:
        parts.append(f"digits: median {median(digits):.1f}, worst {min(digits):.1f}")
    return ", ".join(parts)


def _counted(verdicts: Iterable[str], order: Sequence[str]) -> list[str]:
    """How often each occurs, those that do, in the same order at all times."""
    counts = Counter(verdicts)
    return [f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict]]


def digits_of(scores: Iterable[Score]) -> list[float]:
    """Correct digits of the cases for which the function was asked and did not raise."""
    return [entry.correct_digits for entry in scores if entry.correct_digits is not None]
