"""The law of invariance for a function that is not ours: a verdict instead of an error."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, SupportsIndex

from torch import Generator, Tensor, nn

from igsref.arguments import checked_integer
from igsref.conformance.call import Function, as_number, copies, quietly, told
from igsref.conformance.scores import plain
from igsref.testing import TRANSFORMATIONS, Case, Deviation, draw_cases
from igsref.testing.laws import compared

AGREEMENT = 1e-6
"""To which plain numbers must agree, as many digits as a right value has."""
EXAMPLES = 20

LawVerdict = Literal["holds", "broken", "refused"]


@dataclass(frozen=True)
class Breach:
    """A network and its transformation that moved a function, and the numbers before and after.

    ``case.network()`` and ``case.transformed(network)`` are the two networks again.
    """

    case: Case
    before: float
    after: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite as a string."""
        numbers = {"before": plain(self.before), "after": plain(self.after)}
        return {"case": vars(self.case)} | numbers

    def __str__(self) -> str:
        return f"{self.before!r} before, {self.after!r} after {self.case}"


@dataclass(frozen=True)
class Law:
    """A function under one transformation of random networks.

    verdict: broken if any example broke the law; refused if the function raised on any, or had no
    number for it; holds otherwise. worst: |after − before|/|before| of the example that broke the
    law, or came closest to it; None where there was no number. allowed: what it may be by the law,
    as a share too. examples: how many networks were drawn. refused: on how many of them. error:
    why, the first time. breach: the first that broke the law; None where none did.
    """

    transformation: str
    verdict: LawVerdict
    worst: float | None
    allowed: float | None
    examples: int
    refused: int
    error: str = ""
    breach: Breach | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite as a string."""
        breach = None if self.breach is None else self.breach.to_dict()
        numbers = {"worst": plain(self.worst), "allowed": plain(self.allowed)}
        return vars(self) | numbers | {"breach": breach}


def laws(
    function: Function,
    *,
    examples: SupportsIndex = EXAMPLES,
    agreement: float = AGREEMENT,
    seed: int = 0,
    transformations: Iterable[str] = tuple(TRANSFORMATIONS),
) -> tuple[Law, ...]:
    """The function under each transformation, on ``examples`` random networks each.

    function: f(model, (inputs, labels)) -> number. Plain numbers are held to ``agreement``, and
    results that state their own uncertainty to that as well, as :mod:`igsref.testing.laws` says.

    Raises ValueError for fewer than one example and for an unknown transformation.
    """
    count = checked_integer("examples", examples, least=1)
    return tuple(_law(function, name, count, agreement, seed) for name in transformations)


def _law(
    function: Function, transformation: str, examples: int, agreement: float, seed: int
) -> Law:
    cases = draw_cases(transformation, Generator().manual_seed(seed))
    seen: list[Deviation] = []
    breaches: list[Breach] = []
    errors: list[str] = []
    for case in islice(cases, examples):
        network = case.network()
        transformed = case.transformed(network)
        try:
            before = _measured(function, network.model, network.data)
            after = _measured(function, transformed.model, network.data)
            condition = transformed.condition
            found = compared(before, after, case, condition, agreement=agreement)
        except (Exception, SystemExit) as error:
            errors.append(told(error))
            continue
        seen.append(found)
        if not found.holds:
            breaches.append(Breach(case, found.before, found.after))
    worst = max(seen, key=_severity, default=None)
    return Law(
        transformation,
        "broken" if breaches else "refused" if errors else "holds",
        None if worst is None else _share(worst.moved, abs(worst.before)),
        None if worst is None else _share(worst.allowed, abs(worst.before)),
        examples,
        len(errors),
        errors[0] if errors else "",
        breaches[0] if breaches else None,
    )


def _measured(function: Function, model: nn.Module, data: tuple[Tensor, Tensor]) -> Any:
    """The result, with what it states of itself. Raises NotANumber where it is no number."""
    result = quietly(function, *copies(model, data))
    number = as_number(result)
    return number if isinstance(result, Tensor) else result


def _severity(seen: Deviation) -> tuple[bool, float]:
    """What broke the law first, then what came closest to it."""
    return not seen.holds, _share(seen.moved, seen.allowed)


def _share(part: float, whole: float) -> float:
    """part/whole, neither negative; infinite where there is no such number."""
    if part == 0:
        return 0.0
    ratio = part / whole if whole else math.inf
    return math.inf if math.isnan(ratio) else ratio
