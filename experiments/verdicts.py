"""How the paper's claims about figures and Table 1 fare against what was found, by fixed rules.

A number decides only where its 95% interval does: the bootstrap's over networks, Student's t over
seeds. Claims are those of Jang, Lee, Park, Noh, NeurIPS 2022.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from experiments.associations import Association
from experiments.findings import BASELINES, UPPER, Finding
from experiments.studies import BASE, Study, interval, mean_and_error


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
_NOT_RIVALS = ("IGS/N", UPPER, MEASURE)


def population(found: Finding) -> Verdict:
    """Does the gap rise with the IGS, and with nothing else more closely?

    Confirmed: Spearman's coefficient is above 0, and no other measure's is larger. In part: it is
    above 0. Else not confirmed. Brackets that stay wide have their value near the lower end; if
    their upper ends would be called something else, that is said.
    """
    others = {
        name: a
        for name, kinds in found.ranking.items()
        if name not in _NOT_RIVALS and (a := kinds["Spearman"]) is not None
    }
    best = max((a.value for a in others.values()), default=-1.0)
    first = [name for name, a in others.items() if a.value == best]
    word, by_upper = (_rising(found.of(name), best) for name in (MEASURE, UPPER))
    baselines = ", ".join(f"{name} {others[name]}" for name in BASELINES if name in others)
    why = (
        f"Spearman with the gap {found.of(MEASURE)} for the IGS, {found.of(UPPER)} for the upper "
        f"ends of its brackets; {baselines}; the largest is that of {', '.join(first)}, {best:+.2f}"
    )
    return Verdict(word, why if word == by_upper else f"{why}; by upper ends: {by_upper}")


def _rising(own: Association | None, best: float) -> Word:
    if own is None or own.lower <= 0:
        return Word.NOT
    return Word.CONFIRMED if own.value >= best else Word.IN_PART


def control(found: Finding) -> Verdict:
    """Does the true gap rise with IGS/N where theory says so?"""
    own, rival = found.of("IGS/N"), found.of("AIC")
    why = f"Spearman with the true gap {own} for IGS/N, {rival} for m/N"
    return Verdict(Word.CONFIRMED if own is not None and own.lower > 0 else Word.NOT, why)


def table(found: Study) -> Verdict:
    """Is the IGS step better than SGD, and no worse than any other method?

    Confirmed: the interval of the paired difference from SGD is above 0, and that from no other
    method is below 0. In part: it is above 0. Else not confirmed.
    """
    gain = found.differences("IGS", BASE)
    ahead = [
        other
        for other in found.outcomes
        if other not in ("IGS", BASE) and interval(found.differences("IGS", other))[1] < 0
    ]
    low, high = interval(gain)
    mean, error = mean_and_error(gain)
    why = f"IGS less SGD {mean:+.2f} ± {error:.2f} points, 95% in [{low:+.2f}, {high:+.2f}]"
    why += f"; {', '.join(ahead)} is better" if ahead else "; no other method is surely better"
    if low <= 0:
        return Verdict(Word.NOT, why)
    return Verdict(Word.IN_PART if ahead else Word.CONFIRMED, why)


class Change(NamedTuple):
    """Of a method's gap from that of plain training, and from that stopped at equal loss."""

    method: str
    from_plain: list[float]
    from_early: list[float]


def changes(methods: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Change]:
    """Of every method but plain training, seed by seed. methods: as Figure 5's script has them."""
    plain = methods["plain"]["gap"]
    for name, own in methods.items():
        if name != "plain":
            yield Change(
                name,
                [b - a for a, b in zip(plain, own["gap"], strict=True)],
                [b - a for a, b in zip(own["early gap"], own["gap"], strict=True)],
            )


def poisoned(found: Mapping[str, Any]) -> Verdict:
    """Does the penalty (12) or the step (13) narrow the gap, and more than stopping early does?

    Confirmed: for both, against plain training and against an early stop. In part: for one of
    them, against plain training at least. Else not confirmed.
    """
    both = [
        each for each in changes(found["methods"]) if each.method.startswith(("(12) ex", "(13"))
    ]
    narrower = [interval(each.from_plain)[1] < 0 for each in both]
    than_early = [interval(each.from_early)[1] < 0 for each in both]
    told = []
    for each in both:
        plain, early = mean_and_error(each.from_plain), mean_and_error(each.from_early)
        told.append(
            f"{each.method} changes the gap by {plain[0]:+.2f} ± {plain[1]:.2f} from plain "
            f"training, by {early[0]:+.2f} ± {early[1]:.2f} from training stopped at equal loss"
        )
    why = "; ".join(told)
    if all(narrower) and all(than_early):
        return Verdict(Word.CONFIRMED, why)
    return Verdict(Word.IN_PART if any(narrower) else Word.NOT, why)
