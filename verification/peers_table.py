"""IGS by several routes against the certified vectors: digits, before and after bad scaling.

    python verification/peers_table.py [--examples 10] [--markdown]

Each route is a function f(model, data) -> float of :mod:`verification.peers`, or of the library
itself, put through ``igsref.conformance``, as ``igsref check`` does with one.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import igsref
from experiments.tables import in_markdown, in_plain_text
from igsref.conformance import Conformance, Score, conformance
from igsref.conformance.summary import digits_of
from igsref.vectors import Vector, load
from verification.peers.curvlinops_dense import curvlinops_dense
from verification.peers.nngeometry_low_rank import nngeometry_low_rank
from verification.peers.textbook import textbook32, textbook64

ROUTES: dict[str, Callable[..., object]] = {
    "igsref.exact_igs": igsref.exact_igs,
    "textbook64": textbook64,
    "textbook32": textbook32,
    "curvlinops_dense": curvlinops_dense,
    "nngeometry_low_rank": nngeometry_low_rank,
}
PEERS = ("torch", "curvlinops-for-pytorch", "nngeometry")
EXAMPLES = 10
HEADER = (
    "route",
    "vectors",
    "right",
    "median digits",
    "worst",
    "scaled",
    "right, scaled",
    "median digits, scaled",
    "worst, scaled",
    "above ceiling",
    "laws broken",
    "laws refused",
)


def row(route: str, found: Conformance) -> tuple[str, ...]:
    """One route: of the vectors, of their badly scaled twins, of both, of the laws."""
    laws = [law.verdict for law in found.laws]
    both = (*found.scores, *found.scaled)
    return (
        route,
        *_digits(found.scores),
        *_digits(found.scaled),
        str(sum(score.above_ceiling for score in both)),
        *(f"{laws.count(verdict)} of {len(laws)}" for verdict in ("broken", "refused")),
    )


def _digits(scores: Sequence[Score]) -> tuple[str, ...]:
    """How many gave a number, of those asked; how many right; median and worst digits."""
    asked = [score for score in scores if score.verdict != "skipped"]
    right = sum(score.verdict == "right" for score in asked)
    digits = digits_of(asked)
    shown = (f"{median(digits):.1f}", f"{min(digits):.1f}") if digits else ("–", "–")
    return f"{len(digits)} of {len(asked)}", str(right), *shown


def refusals(route: str, found: Conformance) -> list[str]:
    """Why a route gave no number, each reason once: for how many cases, in how many laws."""
    cases = [each.error for each in (*found.scores, *found.scaled) if each.verdict == "refused"]
    laws = [law.error for law in found.laws if law.refused]
    return [
        f"{route}: {cases.count(reason)} of the cases, {laws.count(reason)} of the laws: {reason}"
        for reason in dict.fromkeys([*cases, *laws])
    ]


def table(vectors: Sequence[Vector], examples: int, layout: Callable[..., str]) -> str:
    """All routes, and why some refused."""
    found = {
        route: conformance(function, vectors, examples=examples)
        for route, function in ROUTES.items()
    }
    rows = [HEADER, *(row(route, each) for route, each in found.items())]
    reasons = [line for route, each in found.items() for line in refusals(route, each)]
    return "\n".join([layout(rows), *(["", *reasons] if reasons else [])])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--examples", type=int, default=EXAMPLES, help="networks for each law (%(default)s)"
    )
    parser.add_argument("--markdown", action="store_true", help="a table for a page")
    options = parser.parse_args(argv)
    if options.examples < 1:
        parser.error(f"--examples must be at least 1; got {options.examples}")
    torch.set_num_threads(1)
    print(table(load(), options.examples, in_markdown if options.markdown else in_plain_text))
    print("\n" + ", ".join(f"{name} {version(name)}" for name in PEERS))


if __name__ == "__main__":
    main()
