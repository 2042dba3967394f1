"""What was found over the networks of a part: which measures go with the gap, as text and JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.associations import (
    COEFFICIENTS,
    Association,
    associated,
    differences,
    interval,
    mean_and_error,
)
from experiments.populations import Subject
from experiments.tables import in_markdown, in_plain_text

BASELINES = ("−training loss", "IGS ceiling", "AIC")
"""What costs nothing; AIC is m/N."""
ESTIMATES = ("IGS/N", "AIC")
"""Of the gap, in nats, by equation (9) and by Akaike's m/N."""
UPPER = "IGS, upper end"
"""Of the bracket; the value is nearly its lower end where a rank stays open."""
CLOSE = 0.01

Ranking = dict[str, dict[str, Association | None]]
"""Measure ↦ coefficient ↦ association with the gap."""


@dataclass(frozen=True)
class Refusal:
    """Networks for which a measure has no value, and why it had none for the first of them."""

    count: int
    first: str


@dataclass(frozen=True)
class Finding:
    """Of the networks of a part that reached their training loss.

    missed: how many others there were. parameters, training_loss, gap: smallest and largest, the
    latter two in nats. close: of how many the IGS is known to 1%; widest: the largest (upper −
    lower)/upper. ranking: the strongest by Spearman first. ratios: of the gap to what is meant to
    estimate it, mean over networks with its 95% interval. beside: of each other measure that all
    networks have, its Spearman coefficient less that of the IGS, the middle 95% of resamples.
    """

    part: str
    networks: int
    missed: int
    parameters: tuple[int, int]
    training_loss: tuple[float, float]
    gap: tuple[float, float]
    close: int
    widest: float
    ranking: Ranking
    refused: dict[str, Refusal]
    ratios: dict[str, tuple[float, float, float]]
    beside: dict[str, tuple[float, float]]

    def of(self, measure: str, kind: str = "Spearman") -> Association | None:
        """A measure's coefficient, None where it has none."""
        return self.ranking.get(measure, {}).get(kind)


def finding(part: str, subjects: Sequence[Subject]) -> Finding:
    """Over all of a part's networks, those that missed their training loss left out.

    Raises ValueError where there is no other.
    """
    reached = [each for each in subjects if each.reached]
    if not reached:
        raise ValueError(f"{part}: none of {len(subjects)} networks reached its training loss")
    sizes = [each.parameters for each in reached]
    losses, gaps = [each.training_loss for each in reached], [each.gap for each in reached]
    widths = [(b - a) / b if b else 0.0 for a, b in (each.bracket for each in reached)]
    return Finding(
        part,
        networks=len(reached),
        missed=len(subjects) - len(reached),
        parameters=(min(sizes), max(sizes)),
        training_loss=(min(losses), max(losses)),
        gap=(min(gaps), max(gaps)),
        close=sum(width <= CLOSE for width in widths),
        widest=max(widths),
        ranking=ranking(reached, gaps),
        refused=refusals(reached),
        ratios=ratios(reached),
        beside=beside(reached, gaps),
    )


def beside(subjects: Sequence[Subject], gaps: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Other measure ↦ the interval of its coefficient less that of the IGS."""
    found = columns(subjects)
    own = found.pop("IGS")
    whole = {name: values for name, values in found.items() if _varies(values)}
    return differences(own, whole, gaps)


def _varies(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values)) and min(values) < max(values)


def ratios(subjects: Sequence[Subject]) -> dict[str, tuple[float, float, float]]:
    """gap/estimate: mean, and where it lies with 95% by Student's t; of both estimates."""
    found = {}
    for name in ESTIMATES:
        own = [each.gap / value for each in subjects if (value := each.measures.get(name, 0.0)) > 0]
        if own:
            found[name] = (mean_and_error(own)[0], *interval(own))
    return found


def columns(subjects: Sequence[Subject]) -> dict[str, list[float]]:
    """Measure ↦ its value for each network, NaN where it has none."""
    names = dict.fromkeys(name for each in subjects for name in each.measures)
    found = {
        name: [each.measures.get(name, float("nan")) for each in subjects]
        for name in names
        if name != "training loss"
    }
    upper = {UPPER: [each.bracket[1] for each in subjects]}
    return {BASELINES[0]: [-each.training_loss for each in subjects]} | found | upper


def ranking(subjects: Sequence[Subject], gaps: Sequence[float]) -> Ranking:
    """All coefficients of all measures; the strongest by Spearman first."""
    found = {
        name: {kind: associated(values, gaps, kind) for kind in COEFFICIENTS}
        for name, values in columns(subjects).items()
    }

    def strength(name: str) -> float:
        own = found[name]["Spearman"]
        return -1.0 if own is None else abs(own.value)

    return {name: found[name] for name in sorted(found, key=strength, reverse=True)}


def refusals(subjects: Sequence[Subject]) -> dict[str, Refusal]:
    """Measure ↦ how often it was refused; of the reason the first sentence."""
    found: dict[str, Refusal] = {}
    for each in subjects:
        for name, why in each.refused.items():
            before = found.get(name, Refusal(0, why.split(". ")[0]))
            found[name] = Refusal(before.count + 1, before.first)
    return found


def heading(found: Finding) -> str:
    """How many networks, and of what kind, in a sentence or two."""
    missed = (
        f", {found.missed} more missed their loss or a minimum and are left out"
        if found.missed
        else ""
    )
    loss, gap = ("{:.3g} to {:.3g}".format(*ends) for ends in (found.training_loss, found.gap))
    return (
        f"{found.part}: {found.networks} networks{missed}; m = {found.parameters[0]} to "
        f"{found.parameters[1]}, training loss {loss}, gap {gap} nats. The IGS is known to "
        f"{CLOSE:.0%} for {found.close} of them, the widest bracket is {found.widest:.2g} of its "
        "upper end"
    )


def rows(found: Finding) -> list[list[str]]:
    """A line for each measure, baselines with a star."""
    out = [["measure", "n", *COEFFICIENTS]]
    for name, own in found.ranking.items():
        known = [a for a in own.values() if a is not None]
        marked = f"{name} *" if name in BASELINES else name
        cells = [str(own[kind]) if own[kind] is not None else "–" for kind in COEFFICIENTS]
        out.append([marked, str(known[0].count) if known else "–", *cells])
    return out


def notes(found: Finding) -> list[str]:
    """What the table needs to be read."""
    lines = ["* costs nothing; coefficients with the gap, and the middle 95% of 2,000 resamples"]
    for name, (mean, low, high) in found.ratios.items():
        known = f", in [{low:.3g}, {high:.3g}] with 95%" if math.isfinite(low) else ""
        lines.append(f"gap over {name} is {mean:.3g} in the mean{known}")
    for name, why in found.refused.items():
        lines.append(f"{name} has no value for {why.count} of {found.networks}, first: {why.first}")
    return lines


def in_text(found: Finding) -> str:
    """For a terminal."""
    return "\n".join([heading(found), in_plain_text(rows(found)), *notes(found)])


def in_page(found: Finding) -> str:
    """For a Markdown page."""
    remarks = " ".join(f"{line.replace('* ', 'Starred: it ', 1)}." for line in notes(found))
    return "\n\n".join([f"**{heading(found)}.**", in_markdown(rows(found)), remarks])


def stored(found: Finding) -> dict[str, Any]:
    """For JSON."""
    return asdict(found)


def finding_of(data: Mapping[str, Any]) -> Finding:
    """From JSON."""
    ranked = {
        name: {kind: None if a is None else Association(**a) for kind, a in own.items()}
        for name, own in data["ranking"].items()
    }
    refused = {name: Refusal(**own) for name, own in data["refused"].items()}
    pairs = {name: tuple(data[name]) for name in ("parameters", "training_loss", "gap")}
    tuples = {
        field: {name: tuple(own) for name, own in data[field].items()}
        for field in ("ratios", "beside")
    }
    return Finding(**{**data, **pairs, **tuples, "ranking": ranked, "refused": refused})
