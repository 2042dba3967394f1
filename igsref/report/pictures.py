"""The figures of a report, as SVG inside the page.

All are narrow, so that their text is still read on a telephone.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from igsref.measures.result import Result
from igsref.report.classes import ClassShare
from igsref.report.findings import Findings
from igsref.report.layers import LayerBounds
from igsref.report.selection import (
    least_score,
    shown_classes,
    shown_eigenvalues,
    shown_layers,
    shown_samples,
)

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#8c8c8c"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "igsref",
    "legend.frameon": False,
}
WIDTH = 4.4
_LINE = 26
"""Characters of a name beside a bar."""


def drawn(findings: Findings) -> dict[str, str]:
    """Section → its picture, as a ``data:`` address; the same bytes for the same findings."""
    result = findings.result
    # A reader's own style, on a dark ground say, is none for this page.
    with matplotlib.style.context(["default", STYLE]):
        figures = {"bracket": draw_bracket(result), "samples": draw_samples(result)}
        if findings.spectrum is not None:
            figures["spectrum"] = draw_spectrum(findings.spectrum, result)
        if findings.classes:
            figures["classes"] = draw_classes(findings.classes)
        if findings.layers:
            figures["layers"] = draw_layers(findings.layers, result)
        return {name: _address(figure) for name, figure in figures.items()}


def _address(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    encoded = base64.b64encode(buffer.getvalue().encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def draw_bracket(result: Result) -> Figure:
    """From 0 to the ceiling: the value, and the bracket that the exact number lies in."""
    figure, axes = _axes(1.3)
    end = result.ceiling or 1.0
    axes.barh(0, result.value, height=0.5, color=BLUE, alpha=0.35)
    axes.plot([result.lower, result.upper], [0, 0], color=BLUE, linewidth=3, solid_capstyle="butt")
    for edge in (result.lower, result.upper):
        axes.plot([edge, edge], [-0.17, 0.17], color=BLUE, linewidth=1.5)
    axes.plot(result.value, 0, "o", color=BLUE, markersize=5)
    axes.axvline(result.ceiling, color=VERMILLION, linestyle="--", linewidth=1.2)
    axes.text(result.ceiling, 0.5, "ceiling", color=VERMILLION, ha="right", va="bottom")
    axes.set(xlim=(0, 1.02 * end), ylim=(-0.5, 0.5), yticks=[], xlabel="IGS")
    axes.spines["left"].set_visible(False)
    return figure


def draw_spectrum(eigenvalues: Tensor, result: Result) -> Figure:
    """Eigenvalues of F by index, with the rank that was found; not those next to 0."""
    figure, axes = _axes(2.9)
    index, shown = shown_eigenvalues(eigenvalues, result.rank)
    beyond = index > result.rank
    axes.plot(index[~beyond], shown[~beyond], ".", color=BLUE, markersize=4, label="counted")
    if beyond.any():
        axes.plot(index[beyond], shown[beyond], ".", color=GREY, markersize=3, label="not counted")
        axes.axvline(result.rank + 0.5, color=GREY, linestyle=":", linewidth=1)
        axes.legend(loc="lower left", markerscale=2)
    axes.set(xscale="log", yscale="log", xlabel="index", ylabel="eigenvalue of F")
    return figure


def draw_samples(result: Result) -> Figure:
    """g_i F⁺ g_iᵀ of the samples, falling, and the most that each could have."""
    figure, axes = _axes(2.9)
    index, score, ceiling = shown_samples(result)
    least = least_score(result)
    for values, mark, colour in ((ceiling, "x", VERMILLION), (score, ".", BLUE)):
        seen = np.where(values > least, values, np.nan)
        axes.plot(index, seen, mark, color=colour, markersize=4)
    axes.plot([], [], "x", color=VERMILLION, label="ceiling of the sample")
    axes.plot([], [], ".", color=BLUE, label="lower end" if result.history else "score")
    axes.set(xscale="log", yscale="log", xlabel="sample, heaviest first")
    axes.set_ylabel(r"$g_i\,F^+ g_i^\top$")
    axes.legend(loc="lower left")
    return figure


def draw_classes(shares: Sequence[ClassShare]) -> Figure:
    """Share of each class in the IGS, the samples and the ceiling; the largest, if many."""
    chosen = shown_classes(shares)
    total = sum(each.count for each in shares)
    figure, axes = _axes(0.9 + 0.24 * len(chosen))
    places = np.arange(len(chosen))
    axes.barh(places, [100 * each.share for each in chosen], 0.55, color=BLUE, label="of the IGS")
    ceilings = [100 * each.ceiling_share for each in chosen]
    axes.plot(ceilings, places, "|", color=VERMILLION, markersize=11, mew=2, label="of the ceiling")
    counts = [100 * each.count / total for each in chosen]
    axes.plot(
        counts, places, "o", color="black", markersize=4, fillstyle="none", label="of the samples"
    )
    axes.set(yticks=places, yticklabels=[each.label for each in chosen], xlim=(0, None))
    axes.set(xlabel="share, %", ylabel="class", ylim=_downwards(chosen))
    _legend_above(figure)
    return figure


def draw_layers(bounds: Sequence[LayerBounds], result: Result) -> Figure:
    """What is certain of the IGS with a layer alone and without it, as shares of the value.

    Those that are missed most, if many.
    """
    chosen = shown_layers(bounds)
    figure, axes = _axes(0.9 + 0.36 * len(chosen))
    places, value = np.arange(len(chosen)), result.value or 1.0
    alone = [100 * each.alone / value for each in chosen]
    without = [100 * (each.without or 0.0) / value for each in chosen]
    axes.barh(places - 0.19, alone, 0.36, color=BLUE, label="with it alone")
    axes.barh(places + 0.19, without, 0.36, color=VERMILLION, alpha=0.75, label="without it")
    axes.axvline(100, color="black", linewidth=0.8, linestyle=":")
    axes.set(yticks=places, yticklabels=[_short(each.name) for each in chosen], xlim=(0, 104))
    axes.set(xlabel="at least so much of the IGS, %", ylim=_downwards(chosen))
    _legend_above(figure)
    return figure


def _downwards(bars: Sequence[object]) -> tuple[float, float]:
    """The first bar on top, and no empty strip above many."""
    return len(bars) - 0.4, -0.6


def _legend_above(figure: Figure) -> None:
    """Of the figure and not of the axes, which are narrow beside long names."""
    figure.legend(loc="outside upper center", ncols=3)


def _short(name: str) -> str:
    r"""A long name in two lines, and its end where that is not enough; no formula begins in it.

    >>> _short("encoder.layers.0.self_attention.projection")
    'encoder.layers.0.\nself_attention.projection'
    """
    shown = name if len(name) <= 2 * _LINE else f"…{name[1 - 2 * _LINE :]}"
    if len(shown) > _LINE:
        ends = [place + 1 for place, sign in enumerate(shown[:-1]) if sign in ". "]
        middle = min(ends, key=lambda end: max(end, len(shown) - end), default=_LINE)
        shown = f"{shown[:middle].rstrip()}\n{shown[middle:]}"
    return shown.replace("$", r"\$")
