"""How the paper's claims about figures and Table 1 fare against what was found, by fixed rules.

A number decides only where its 95% interval does: the bootstrap's over networks, Student's t over
seeds or settings. Claims are those of Jang, Lee, Park, Noh, NeurIPS 2022.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from experiments.associations import Association, interval, mean_and_error
from experiments.findings import BASELINES, UPPER, Finding
from experiments.studies import BASE, Study


class Word(StrEnum):
    """What a claim is called in the end."""

    CONFIRMED = "confirmed"
    IN_PART = "confirmed in part"
    NOT = "not confirmed"
    NOT_RUN = "not run"


class Verdict(NamedTuple):
    """why: the numbers that decided, in a sentence or two."""

    word: Word
    why: str


MEASURE = "IGS"
NEAR = (0.8, 1.25)
"""A ratio that is called 1."""
FEWEST_SEEDS = 3
PENALTY, STEP = "(12) exact", "(13) exact F⁺"
_NOT_RIVALS = ("IGS/N", UPPER, MEASURE)


def population(found: Finding) -> Verdict:
    """Does the gap rise with the IGS, more closely than with what costs nothing?

    Confirmed: Spearman's coefficient is above 0, surely larger than those of all baselines, and no
    other measure's is surely larger. In part: it is above 0. Else not confirmed. Brackets that stay
    wide have their value near the lower end; if their upper ends would be called something else,
    that is said.
    """
    rivals = {name: ends for name, ends in found.beside.items() if name not in _NOT_RIVALS}
    ahead = [name for name, (low, _) in rivals.items() if low > 0]
    level = [name for name in BASELINES if name in rivals and rivals[name][1] >= 0]
    word, by_upper = (
        _rising(found.of(name), first=not (ahead or level)) for name in (MEASURE, UPPER)
    )
    baselines = ", ".join(f"{name} {found.of(name)}" for name in BASELINES if found.of(name))
    why = (
        f"Spearman with the gap {found.of(MEASURE)} for the IGS, {found.of(UPPER)} for the upper "
        f"ends of its brackets; {baselines}; surely larger are {_listed(ahead)}"
    )
    return Verdict(word, why if word == by_upper else f"{why}; by upper ends: {by_upper}")


def _rising(own: Association | None, *, first: bool) -> Word:
    if own is None or own.lower <= 0:
        return Word.NOT
    return Word.CONFIRMED if first else Word.IN_PART


def _listed(names: Sequence[str]) -> str:
    few = 3
    more = f" and {len(names) - few} others" if len(names) > few else ""
    return ", ".join(names[:few]) + more if names else "none"


def control(found: Finding) -> Verdict:
    """Is IGS/N the true gap, where theory says so?

    Confirmed: the gap rises with it, and the mean of their ratio surely lies within ``NEAR``. In
    part: the gap rises with it. Else not confirmed.
    """
    own = found.of("IGS/N")
    mean, low, high = found.ratios["IGS/N"]
    other, lowest, highest = found.ratios["AIC"]
    why = (
        f"Spearman with the true gap {own} for IGS/N, {found.of('AIC')} for m/N; the gap is "
        f"{mean:.2f} [{low:.2f}, {high:.2f}] of IGS/N in the mean, {other:.2f} [{lowest:.2f}, "
        f"{highest:.2f}] of m/N"
    )
    if own is None or own.lower <= 0:
        return Verdict(Word.NOT, why)
    near = NEAR[0] <= low and high <= NEAR[1]
    return Verdict(Word.CONFIRMED if near else Word.IN_PART, why)


def table(found: Study) -> Verdict:
    """Is the IGS step better than SGD, and no other method surely better than it?

    Confirmed: the interval of the paired difference from SGD is above 0, and that from no other
    method is below 0. In part: it is above 0. Else, and of fewer than ``FEWEST_SEEDS`` seeds or of
    trainings that ended early, not confirmed.
    """
    if not {"IGS", BASE} <= set(found.outcomes):
        return Verdict(Word.NOT_RUN, "")
    gain = found.differences("IGS", BASE)
    if not all(map(math.isfinite, gain)):
        return Verdict(Word.NOT, "trainings ended early")
    if len(gain) < FEWEST_SEEDS:
        return Verdict(Word.NOT, f"{len(gain)} seeds do not tell")
    others = [name for name in found.outcomes if name not in ("IGS", BASE)]
    ahead = [name for name in others if interval(found.differences("IGS", name))[1] < 0]
    low, high = interval(gain)
    mean, error = mean_and_error(gain)
    why = (
        f"IGS less SGD {mean:+.2f} ± {error:.2f} points, 95% in [{low:+.2f}, {high:+.2f}]; surely "
        f"better than IGS: {_listed(ahead)}"
    )
    if low <= 0:
        return Verdict(Word.NOT, why)
    return Verdict(Word.IN_PART if ahead else Word.CONFIRMED, why)


class Change(NamedTuple):
    """What a method changes, seed by seed: the gap, from plain training and from it stopped at
    equal training loss, and the share of wrong labels that are learnt, from plain training."""

    method: str
    from_plain: list[float]
    from_early: list[float]
    learnt: list[float]


def changes(methods: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Change]:
    """Of every method but plain training. methods: as Figure 5's script has them."""
    plain = methods["plain"]
    for name, own in methods.items():
        if name != "plain":
            yield Change(
                name,
                _less(own["gap"], plain["gap"]),
                _less(own["gap"], own["early gap"]),
                _less(own["wrong learnt"], plain["wrong learnt"]),
            )


def _less(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [own - other for own, other in zip(values, others, strict=True)]


def poisoned(found: Mapping[str, Any]) -> Verdict:
    """Do the penalty (12) and the step (13) learn fewer wrong labels, and narrow the gap?

    Confirmed: both do both, and narrow it more than stopping early. In part: one of them does one
    of these against plain training. Else not confirmed. Raises KeyError where one is missing.
    """
    by_name = {each.method: each for each in changes(found["methods"])}
    both = by_name[PENALTY], by_name[STEP]
    told = []
    for each in both:
        gap, early, learnt = (_told(values) for values in each[1:])
        told.append(
            f"{each.method} changes the gap by {gap} from plain training, by {early} from an early "
            f"stop at equal training loss, and the share of wrong labels learnt by {learnt}"
        )
    lower = [[interval(values)[1] < 0 for values in each[1:]] for each in both]
    if all(map(all, lower)):
        return Verdict(Word.CONFIRMED, "; ".join(told))
    any_of_them = any(gap or learnt for gap, _, learnt in lower)
    return Verdict(Word.IN_PART if any_of_them else Word.NOT, "; ".join(told))


def _told(values: Sequence[float]) -> str:
    return "{:+.2f} ± {:.2f}".format(*mean_and_error(values))
