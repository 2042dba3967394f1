"""The law of invariance on many random networks: for IGS, and for what baselines promise.

    python verification/invariance.py

draws at random (the seed is printed, and ``--seed`` repeats a run), holds IGS to the law on 10,000
pairs of a network and a transformation and every baseline on 200 pairs of the kinds that its paper
promises (permutations where it promises nothing), and prints by transformation how many there were,
the worst deviation and the worst distance between two brackets. A pair that breaks the law is
printed as code that shows it again.
Ctrl-C prints what was reached.
"""

import argparse
import secrets
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tqdm import tqdm

import igsref
from igsref.measures.igs import WORTH_A_WARNING
from igsref.measures.registry import MEASURES, SHARPNESS
from igsref.testing import TRANSFORMATIONS, Case, Deviation, draw_cases
from igsref.testing.laws import compared
from verification.invariance_matrix import quick

PER_NETWORK = 5
SMALL = ("ReLU perceptron", "leaky ReLU perceptron", "tanh perceptron", "GELU perceptron")
"""What baselines are tried on: dense Hessians and maximisations take their time."""
ONLY = {"path norm": ("ReLU perceptron",)}
"""Measures that are defined on fewer of them."""


@dataclass(frozen=True)
class Task:
    """Cases of one network, and the measure to hold to the law."""

    measure: str
    cases: tuple[Case, ...]


@dataclass
class Tally:
    """What was seen of one measure under one transformation.

    worst, sure: the largest |Δ|/|before|, and the largest among results that state less than
    ``WORTH_A_WARNING`` of themselves. strained: the largest |Δ| relative to what was allowed.
    apart: the largest distance between two brackets. broken: cases that broke the law.
    refused: cases that the transformation or the measure was not defined for, with a reason.
    """

    count: int = 0
    worst: float = 0.0
    sure: float = 0.0
    strained: float = 0.0
    apart: float = 0.0
    broken: list[Case] = field(default_factory=list)
    refused: int = 0

    def add(self, case: Case, seen: Deviation | None) -> None:
        """Count one case; None where it was refused."""
        if seen is None:
            self.refused += 1
            return
        self.count += 1
        if seen.moved:
            size = abs(seen.before or seen.after)
            self.worst = max(self.worst, seen.moved / size)
            if seen.stated <= WORTH_A_WARNING * size:
                self.sure = max(self.sure, seen.moved / size)
            self.strained = max(self.strained, seen.moved / seen.allowed)
        self.apart = max(self.apart, seen.apart)
        if not seen.holds:
            self.broken.append(case)


def deviations(task: Task) -> list[Deviation | None]:
    """What each case's transformation did to the measure; None where it is not defined."""
    compute = igsref.exact_igs if task.measure == "IGS" else quick(MEASURES[task.measure]).compute
    network = task.cases[0].network()
    found: list[Deviation | None] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = _defined(lambda: compute(network.model, network.data))
        for case in task.cases:
            transformed = _defined(lambda case=case: case.transformed(network))
            after = transformed and _defined(lambda t=transformed: compute(t.model, network.data))
            if before is None or after is None:
                found.append(None)
                continue
            found.append(compared(before, after, case, transformed.condition))
    return found


def _defined(call: Callable[[], Any]) -> Any:
    """What a call gives; None where it refuses what it was given."""
    try:
        return call()
    except (TypeError, ValueError):
        return None


def tasks(measure: str, transformation: str, pairs: int, seed: int) -> list[Task]:
    """Networks with ``PER_NETWORK`` transformations each, ``pairs`` in all or a few more."""
    generator = torch.Generator().manual_seed(seed)
    families = None
    if measure != "IGS":
        own = TRANSFORMATIONS[transformation].families
        families = [name for name in own if name in ONLY.get(measure, SMALL)] or own
    cases = draw_cases(transformation, generator, families=families, per_network=PER_NETWORK)
    return [
        Task(measure, tuple(islice(cases, PER_NETWORK))) for _ in range(-(-pairs // PER_NETWORK))
    ]


def all_tasks(pairs: int, baseline_pairs: int, seed: int) -> list[Task]:
    """IGS under every transformation, baselines under those that their papers promise."""
    out = []
    for name in TRANSFORMATIONS:
        out += tasks("IGS", name, -(-pairs // len(TRANSFORMATIONS)), seed)
        seed += 1
    for measure in SHARPNESS.values():
        if measure.name == "IGS":
            continue
        promised = [t.name for t in TRANSFORMATIONS.values() if t.kind in measure.promised]
        # Where nothing is promised, what holds by definition: the order of units is nothing.
        promised = promised or ["permutation"]
        for name in promised:
            out += tasks(measure.name, name, -(-baseline_pairs // len(promised)), seed)
            seed += 1
    return out


def run(todo: Sequence[Task], workers: int) -> dict[tuple[str, str], Tally]:
    """Tallies by measure and transformation; what was reached, if interrupted."""
    tallies: dict[tuple[str, str], Tally] = {}
    context = get_context("spawn")
    with ProcessPoolExecutor(
        workers, context, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        results = pool.map(deviations, todo, chunksize=4)
        try:
            for task, seen in tqdm(
                zip(todo, results, strict=True), total=len(todo), unit="network"
            ):
                for case, found in zip(task.cases, seen, strict=True):
                    tallies.setdefault((task.measure, case.transformation), Tally()).add(
                        case, found
                    )
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("interrupted; what was reached:", flush=True)
    return tallies


def report(tallies: dict[tuple[str, str], Tally]) -> str:
    """A line for every measure and transformation, and the cases that broke the law."""
    lines = [
        f"{'measure':44} {'transformation':30} {'pairs':>6} {'refused':>7} "
        f"{'worst |Δ|/value':>15} {'unwarned':>9} {'of allowed':>10} {'brackets apart':>14} "
        f"{'broken':>6}"
    ]
    for (measure, transformation), tally in tallies.items():
        lines.append(
            f"{measure:44} {transformation:30} {tally.count:>6} {tally.refused:>7} "
            f"{tally.worst:>15.1e} {tally.sure:>9.1e} {tally.strained:>10.1e} {tally.apart:>14.1e} "
            f"{len(tally.broken):>6}"
        )
    return "\n".join([*lines, *_broken(tallies)])


def _broken(tallies: dict[tuple[str, str], Tally]) -> Iterable[str]:
    for (measure, _), tally in tallies.items():
        for case in tally.broken:
            call = (
                f"igsref.MEASURES[{measure!r}].compute" if measure != "IGS" else "igsref.exact_igs"
            )
            yield f"broken: igsref.testing.check({call}, {case})"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10_000, help="for IGS (%(default)s)")
    parser.add_argument("--baseline-pairs", type=int, default=200, help="each (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="at random unless given")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    options = parser.parse_args(argv)
    for name in ("pairs", "baseline_pairs", "workers"):
        if getattr(options, name) < 1:
            parser.error(
                f"--{name.replace('_', '-')} must be at least 1; got {getattr(options, name)}"
            )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    tallies = run(all_tasks(options.pairs, options.baseline_pairs, seed), options.workers)
    print(report(tallies))
    igs = [tally for (measure, _), tally in tallies.items() if measure == "IGS"]
    broken = sum(len(tally.broken) for tally in tallies.values())
    print(
        f"IGS: {sum(t.count for t in igs)} pairs, worst |Δ|/value {max(t.worst for t in igs):.1e}, "
        f"of those without a warning {max(t.sure for t in igs):.1e}, "
        f"worst distance of brackets {max(t.apart for t in igs):.1e}; broken in all: {broken}"
    )
    return 1 if any(tally.broken for tally in igs) else 0


if __name__ == "__main__":
    raise SystemExit(main())
