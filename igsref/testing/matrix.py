"""The invariance matrix: what transformations do to measures, beside what their papers promise.

A cell holds the median and the worst of measure(after)/measure(before) over random networks and
strengths; the worst is the one furthest from 1 by its logarithm.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, SupportsFloat

from torch import Generator

from igsref.measures.measurement import Measure, Measurement
from igsref.measures.registry import find_measure
from igsref.testing.laws import (
    STANDARD_ERRORS,
    Case,
    Measured,
    checked_number,
    draw_cases,
    find_transformation,
    function_of,
)
from igsref.testing.networks import Network, find_family
from igsref.testing.transformations import TRANSFORMATIONS, Transformed


@dataclass(frozen=True)
class Cell:
    """One measure under one transformation.

    median, worst: of the ratios, None where no network allowed the measure. count: of pairs.
    unresolved: the worst is within what both numbers state of their sampling.
    refused: why the measure was not defined, where it was not.
    """

    measure: str
    transformation: str
    promised: bool
    median: float | None
    worst: float | None
    count: int
    unresolved: bool = False
    refused: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """measure, transformation, promised, median, worst; None for a ratio that is not finite."""
        names = ("measure", "transformation", "promised")
        ratios = {"median": self.median, "worst": self.worst}
        return {name: getattr(self, name) for name in names} | {
            name: ratio if ratio is not None and math.isfinite(ratio) else None
            for name, ratio in ratios.items()
        }


class Row(list[Cell]):
    """Cells of one measure, which print as a table: one line a transformation."""

    def __str__(self) -> str:
        width = max((len(entry.transformation) for entry in self), default=0) + 2
        lines = [f"{'':{width}}{'worst':>10}{'median':>10}{'pairs':>7}"]
        for entry in self:
            numbers = f"{_shown(entry, True):>10}{_shown(entry, False):>10}{entry.count:>7}"
            lines.append(f"{entry.transformation:{width}}{numbers}  {entry.refused or ''}".rstrip())
        return "\n".join([*lines, "measure(after)/measure(before); ✓: invariance is promised"])


@dataclass(frozen=True, eq=False)
class Pair:
    """A network before and after a case's transformation."""

    case: Case
    before: Network
    after: Transformed


def draw_pairs(
    transformation: str,
    count: int,
    seed: int,
    *,
    families: Iterable[str] | None = None,
    per_network: int = 2,
) -> list[Pair]:
    """Networks before and after, ``per_network`` transformations each.

    families: the first choice among those that the transformation can act on; all of its own
        where there is none of them among it.

    Raises ValueError for an unknown transformation or family and a count below 1.
    """
    own = find_transformation(transformation).families
    if count < 1:
        raise ValueError(f"count must be at least 1; got {count}")
    first = own if families is None else tuple(families)
    for family in first:
        find_family(family)
    wanted = tuple(family for family in first if family in own) or own
    cases = draw_cases(
        transformation,
        Generator().manual_seed(seed),
        families=wanted,
        per_network=per_network,
    )
    pairs: list[Pair] = []
    network = None
    for index in range(count):
        case = next(cases)
        if network is None or index % per_network == 0:
            network = case.network()
        pairs.append(Pair(case, network, case.transformed(network)))
    return pairs


def cell(measure: Measure, transformation: str, pairs: Sequence[Pair]) -> Cell:
    """Ratios of a measure over pairs of one transformation."""
    kind = find_transformation(transformation).kind
    ratios: list[tuple[float, bool]] = []
    reason = None
    earlier: dict[int, SupportsFloat] = {}
    for pair in pairs:
        try:
            if id(pair.before) not in earlier:
                before = measure.compute(pair.before.model, pair.before.data)
                earlier[id(pair.before)] = checked_number(before)
            after = checked_number(measure.compute(pair.after.model, pair.before.data))
        except (TypeError, ValueError) as error:
            reason = str(error)
            continue
        before = earlier[id(pair.before)]
        ratios.append((_ratio(float(after), float(before)), _is_noise(before, after)))
    worst, unresolved = max(ratios, key=_severity) if ratios else (None, False)
    return Cell(
        measure.name,
        transformation,
        kind in measure.promised,
        median(ratio for ratio, _ in ratios) if ratios else None,
        worst,
        len(ratios),
        unresolved,
        reason,
    )


def _severity(entry: tuple[float, bool]) -> tuple[bool, float]:
    """What is more than noise first, then the ratio that is further from 1."""
    ratio, noise = entry
    return not noise, _distance(ratio)


def _is_noise(before: SupportsFloat, after: SupportsFloat) -> bool:
    """Whether two sampled numbers differ by less than six of their standard errors."""
    if not (isinstance(before, Measurement) and isinstance(after, Measurement)):
        return False
    if before.kind != "sampled" or after.kind != "sampled":
        return False
    moved = abs(after.value - before.value)
    return 0 < moved <= STANDARD_ERRORS * (before.uncertainty + after.uncertainty)


def row(
    measure: Measured,
    *,
    transformations: Iterable[str] = tuple(TRANSFORMATIONS),
    count: int = 6,
    seed: int = 0,
    families: Iterable[str] | None = None,
) -> "Row":
    """A row of the matrix; ``count`` pairs of a network and a transformation a cell.

    measure: a name in ``igsref.MEASURES``, a Measure, or a function of (model, data).
    Raises ValueError for an unknown measure, transformation or family and a count below 1;
    TypeError for what is no measure and for names that are no list.
    """
    if isinstance(transformations, str):
        raise TypeError(f"transformations must be a list of names; got {transformations!r}")
    if isinstance(measure, str | Measure):
        chosen = find_measure(measure)
    else:
        compute = function_of(measure)
        chosen = Measure(getattr(compute, "__name__", "measure"), "given", compute)
    return Row(
        cell(chosen, name, draw_pairs(name, count, seed, families=families))
        for name in transformations
    )


def _ratio(after: float, before: float) -> float:
    if before == after:
        return 1.0
    return after / before if before else math.inf


def _distance(ratio: float) -> float:
    """|log ratio|; infinite where the sign changed or a number is missing."""
    return abs(math.log(ratio)) if ratio > 0 and math.isfinite(ratio) else math.inf


def matrix_text(cells: Iterable[Cell]) -> str:
    """Worst, median ratios. ✓: invariance is promised, ≈: within sampling error, –: undefined."""
    rows: dict[str, dict[str, Cell]] = {}
    for entry in cells:
        rows.setdefault(entry.measure, {})[entry.transformation] = entry
    columns = list(dict.fromkeys(name for entries in rows.values() for name in entries))
    heads = [f"{i + 1}" for i in range(len(columns))]
    legend = [f"{head}: {name}" for head, name in zip(heads, columns, strict=True)]
    blocks = [_block(rows, columns, heads, worst) for worst in (True, False)]
    return "\n\n".join([*blocks, "\n".join(legend)])


def _block(
    rows: Mapping[str, Mapping[str, Cell]], columns: list[str], heads: list[str], worst: bool
) -> str:
    width = max(len(name) for name in rows) + 2
    title = "worst" if worst else "median"
    lines = [f"{title:{width}}" + "".join(f"{head:>10}" for head in heads)]
    lines += [
        f"{name:{width}}" + "".join(f"{_shown(entries.get(c), worst):>10}" for c in columns)
        for name, entries in rows.items()
    ]
    return "\n".join(lines)


def _shown(entry: Cell | None, worst: bool) -> str:
    ratio = None if entry is None else entry.worst if worst else entry.median
    if entry is None or ratio is None:
        return "–"
    mark = "✓" if entry.promised else " "
    if entry.unresolved:
        return f"≈1{mark}"
    near = abs(ratio - 1)
    text = f"1{ratio - 1:+.0e}" if near < 5e-3 else f"{ratio:.3g}"
    return f"{'1' if near == 0 else text}{mark}"


def as_records(cells: Iterable[Cell]) -> list[Mapping[str, Any]]:
    """The cells as plain Python values, for JSON."""
    return [entry.to_dict() for entry in cells]
