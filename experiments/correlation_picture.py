"""The figure of correlation.py: Spearman's coefficients with intervals, and IGS beside the gap."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, NullFormatter

from experiments.associations import Association
from experiments.populations import Subject

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73")
MARKERS = ("o", "s", "^")
STYLE = {"font.size": 8, "axes.titlesize": 8, "axes.linewidth": 0.6}
_BETWEEN = 0.22
_FEW_DECADES = 300
"""Below this ratio powers of ten alone would be too few ticks."""

Ranked = Mapping[str, Mapping[str, Association | None]]


def picture(ranked: Mapping[str, Ranked], found: Mapping[str, Sequence[Subject]]) -> Figure:
    """Left every measure's coefficient in every part; right IGS against gap, a panel a part."""
    names = list(dict.fromkeys(name for own in ranked.values() for name in own))
    figure = Figure(figsize=(7.0, 1.6 + 0.2 * len(names)), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.7, 1))
    draw_coefficients(left, names, ranked)
    panels = right.subplots(len(found), 1, squeeze=False).flatten()
    for place, (panel, (part, subjects)) in enumerate(zip(panels, found.items(), strict=True)):
        draw_igs(panel, part, subjects, place)
    return figure


def draw_coefficients(
    figure: SubFigure, names: Sequence[str], ranked: Mapping[str, Ranked]
) -> None:
    panel = figure.subplots()
    for place, (part, own) in enumerate(ranked.items()):
        shown = [(row, own.get(name, {}).get("Spearman")) for row, name in enumerate(names)]
        points = [(row + _BETWEEN * (place - 1), found) for row, found in shown if found]
        if not points:
            continue
        values = [found.value for _, found in points]
        sides = [
            [found.value - found.lower for _, found in points],
            [found.upper - found.value for _, found in points],
        ]
        panel.errorbar(
            values,
            [height for height, _ in points],
            xerr=[[max(0.0, side) for side in both] for both in sides],
            fmt=MARKERS[place],
            color=COLOURS[place],
            markersize=3.5,
            linewidth=0.8,
            label=part,
        )
    panel.axvline(0, color="black", linewidth=0.6)
    panel.set(xlim=(-1.05, 1.05), xlabel="Spearman's coefficient with the gap")
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    figure.legend(loc="outside upper right", ncols=len(ranked), frameon=False)


def draw_igs(panel: Axes, part: str, subjects: Sequence[Subject], place: int) -> None:
    igs = [each.measures["IGS"] for each in subjects]
    errors = [each.gap_error for each in subjects]
    if any(map(math.isfinite, errors)):
        bars = {"yerr": errors, "fmt": "none", "color": COLOURS[place], "linewidth": 0.6}
        panel.errorbar(igs, [each.gap for each in subjects], **bars)
    panel.scatter(
        igs,
        [each.gap for each in subjects],
        s=10,
        marker=MARKERS[place],
        color=COLOURS[place],
    )
    panel.set(xscale="log", xlabel="IGS / nats", ylabel="gap / nats")
    if max(igs) < _FEW_DECADES * min(igs):
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_title(part, loc="left")
