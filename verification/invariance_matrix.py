"""The invariance matrix: every measure under every transformation, beside what its paper promises.

    python verification/invariance_matrix.py --output out/invariance --json out/invariance.json

A cell is measure(after)/measure(before) over random networks and strengths: the median and the
worst, the one furthest from 1. Prints the matrix, writes JSON (a list of objects with measure,
transformation, promised, median, worst) and a heat map of the worst ratios.
"""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib
import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from tqdm import tqdm

from igsref.measures.measurement import Measure
from igsref.measures.registry import SHARPNESS
from igsref.testing import TRANSFORMATIONS, Cell, cell, draw_pairs, matrix_text
from igsref.testing.matrix import as_records

FAMILIES = ("ReLU perceptron",)
"""The networks on which most measures are defined; a transformation that cannot act on them is
drawn with its own."""
COUNT = 6
_QUICKLY = {"starts": 1, "iterations": 25}
SETTINGS = {
    "Keskar sharpness": _QUICKLY,
    "worst-case sharpness": _QUICKLY,
    "adaptive worst-case sharpness": _QUICKLY,
    "worst-case sharpness, largest entry": _QUICKLY,
    "adaptive worst-case sharpness, largest entry": _QUICKLY,
    "average-case sharpness": {"pairs": 512},
    "adaptive average-case sharpness": {"pairs": 512},
}
"""Fewer starts than by default for what is maximised, more pairs for what is sampled."""
LEAST, MOST = 1e-12, 1e6
"""Ends of the colour scale of |log10 ratio|."""


@cache
def _pairs(transformation: str, count: int, seed: int):
    return draw_pairs(transformation, count, seed, families=FAMILIES)


def one_cell(job: tuple[str, str, int, int]) -> Cell:
    """The cell of a measure and a transformation."""
    measure, transformation, count, seed = job
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = _pairs(transformation, count, seed)
        return cell(quick(SHARPNESS[measure]), transformation, pairs)


def quick(measure: Measure) -> Measure:
    """The measure with the settings of ``SETTINGS``."""
    return replace(measure, compute=partial(measure.compute, **SETTINGS.get(measure.name, {})))


def cells(count: int, seed: int, workers: int) -> list[Cell]:
    """The matrix, row by row."""
    jobs = [(measure, name, count, seed) for measure in SHARPNESS for name in TRANSFORMATIONS]
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )
    with pool:
        return list(tqdm(pool.map(one_cell, jobs), total=len(jobs), unit="cell"))


def picture(matrix: Sequence[Cell]) -> Figure:
    """Heat map of |log10| of the worst ratio; a dot where invariance is promised."""
    rows = list(dict.fromkeys(entry.measure for entry in matrix))
    columns = list(dict.fromkeys(entry.transformation for entry in matrix))
    shade = np.full((len(rows), len(columns)), np.nan)
    figure = Figure(figsize=(7.2, 0.24 * len(rows) + 2.2), layout="constrained")
    panel = figure.subplots()
    for entry in matrix:
        i, j = rows.index(entry.measure), columns.index(entry.transformation)
        if entry.worst is None:
            panel.text(j, i, "n/a", ha="center", va="center", fontsize=5, color="0.5")
            continue
        shade[i, j] = LEAST if entry.unresolved else distance(entry.worst)
        dark = shade[i, j] > 1e-2
        text = "≈1" if entry.unresolved else shown(entry.worst)
        panel.text(j, i, text, ha="center", va="center", fontsize=5, color="w" if dark else "k")
        if entry.promised:
            panel.plot(j + 0.4, i - 0.32, "o", ms=2.2, color="w" if dark else "k")
    image = panel.imshow(shade, norm=LogNorm(LEAST, 1e1), cmap="cividis_r", aspect="auto")
    panel.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=6.5)
    panel.set_yticks(range(len(rows)), rows, fontsize=6.5)
    bar = figure.colorbar(image, ax=panel, shrink=0.6)
    bar.set_label("|log₁₀(after/before)|, worst network", fontsize=6.5)
    bar.ax.tick_params(labelsize=6)
    panel.set_title(
        "Worst ratio after/before; a dot: invariance is promised; ≈1: within sampling error",
        fontsize=8,
    )
    return figure


def distance(ratio: float) -> float:
    """|log10 ratio| within the colour scale; its upper end where the sign changed."""
    if not (ratio > 0 and math.isfinite(ratio)):
        return 1e1
    return min(1e1, max(LEAST, abs(math.log10(ratio))))


def shown(ratio: float) -> str:
    """A ratio in four characters or so."""
    if not math.isfinite(ratio):
        return "∞"
    if abs(ratio - 1) < 5e-4:
        return "1"
    if 1e-2 < abs(ratio) < 999.5:
        return f"{ratio:.0f}" if abs(ratio) >= 99.5 else f"{ratio:.2g}"
    if ratio == 0:
        return "0"
    mantissa, exponent = f"{ratio:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for the picture")
    parser.add_argument("--json", type=Path, help="file for the cells")
    parser.add_argument("--count", type=int, default=COUNT, help="pairs a cell (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    options = parser.parse_args(argv)
    for name in ("count", "workers"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1; got {getattr(options, name)}")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(argv)
    matrix = cells(options.count, options.seed, options.workers)
    print(matrix_text(matrix))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(as_records(matrix), indent=1))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context({"pdf.fonttype": 42}):
            for suffix in ("png", "pdf"):
                path = options.output / f"invariance_matrix.{suffix}"
                picture(matrix).savefig(path, dpi=200)
                print(f"wrote {path}")


if __name__ == "__main__":
    main()
