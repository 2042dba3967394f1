"""What a claim is: a statement, how it is checked, and what must make the check fail."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Status = Literal["proved", "proved with a correction", "refuted", "measured"]
Means = Literal[
    "symbolic identity", "exact rational computation", "interval enclosure", "simulation"
]


class Disproved(ArithmeticError):
    """A step of a proof does not hold."""


@dataclass(frozen=True)
class Claim:
    """One sentence of the mathematics and its check.

    name: a slug, unique. source: where it stands: "(2)", "Proposition 3.1", "Appendix A", or
        "beyond the paper". statement: one line, as mathematics.
    status: proved; proved with a correction: true in the form that ``argument`` gives; refuted;
        measured: seen in the cases that ``argument`` names, which prove nothing about others. A
        simulation is never more.
    means: by what it is checked: a symbolic identity (sympy), an exact computation in rationals,
        an enclosure in balls or intervals, a simulation held against its standard error.
    argument: one paragraph: the proof for every C and every network, of which ``check`` runs
        the steps that a machine can; what was corrected. Markdown.
    check: runs them and returns the evidence in a few words ("C = 2, 3, 4: all entries 0");
        raises Disproved otherwise. Keyword arguments with defaults open it to mutations.
    mutations: for a name of the mistake, keyword arguments with which check must be Disproved.
    counterexample: where refuted, the smallest one, in words and exact numbers.
    """

    name: str
    source: str
    statement: str
    status: Status
    means: Means
    argument: str
    check: Callable[..., str]
    mutations: Mapping[str, Mapping[str, Any]]
    counterexample: str = field(default="")

    def __post_init__(self) -> None:
        if self.status not in get_args(Status) or self.means not in get_args(Means):
            raise ValueError(f"{self.name}: unknown {self.status!r} or {self.means!r}")
        if (self.status == "refuted") != bool(self.counterexample):
            raise ValueError(f"{self.name}: a counterexample belongs to a refuted claim, and only")
        if self.means == "simulation" and self.status != "measured":
            raise ValueError(f"{self.name}: a simulation measures; it has not {self.status!r} it")
        if not self.mutations:
            raise ValueError(f"{self.name}: a check without a mutation proves nothing")


def listed(values: Iterable[Any]) -> str:
    """Values for prose.

    >>> listed([3, 6, 6])
    '3, 6, 6'
    """
    return ", ".join(map(str, values))


def require(condition: Any, what: str) -> None:
    """Raise Disproved, with ``what`` does not hold, unless the condition is exactly True.

    Comparisons of balls, rationals and sympy numbers give a bool or an undecided object.
    """
    if not (condition is True or condition == True):  # noqa: E712 (sympy's true, numpy's bool)
        raise Disproved(f"{what}: got {condition!r}")
