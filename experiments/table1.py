"""Table 1 of the paper, tried honestly: SGD, GR, SAM, ASAM and IGS, by accuracy on test images.

    IGSREF_DATA=FOLDER python experiments/table1.py --row mnist-3fcn --seeds 5
    python experiments/table1.py --row cifar10-vgg11bn --device cuda --pace
    python experiments/table1.py --row cifar10-vgg11bn --device cuda --epochs 60

``--pace`` times 50 steps of each method and says how long the row will take. ρ is chosen by
accuracy on training images that are held out (10,000, or a fifth), over two seeds of their own,
never on the test images, or is the usual one of each method (``--rho usual``); then each method
trains on all training images. Differences from SGD are of runs with one seed, which have the same
initial weights and batches.

Every run is kept below ``--output`` as JSON; a run with the same settings goes on from there.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from experiments.data import Images, generator, load_data, random_images
from experiments.files import CorruptFile, DataNotFound, OtherSettings
from experiments.kept import kept, write_json
from experiments.methods import METHODS, Outcome, Trial, pace, run
from experiments.studies import CHOSEN, ROWS, SYNTHETIC, USUAL, Row, Study, in_text, stored
from experiments.workers import results_of, workers

HELD_OUT = 10_000
CHOOSING_SEEDS = (1000, 1001)
ALL = "all"
PACE_STEPS = 50
SMOOTHING = 0.1


def images(row: Row, split: str) -> Images:
    """All training or test images of a row, or as many as it takes; read once by a process."""
    return _images(row.data, split, row.train if split == "train" else None)


@cache
def _images(data: str, split: str, count: int | None) -> Images:
    if data == SYNTHETIC:
        return random_images(int(split == "test"), 200, in_channels=1, side=28)
    return load_data(data, split, count)


def trial(row: Row, method: str, rho: float, seed: int, smoothing: float) -> Trial:
    """How a method trains on a row."""
    augment = {"flips": True, "crops": 4} if row.augment else {}
    return Trial(row.network, method, rho, seed, row.epochs, smoothing=smoothing, **augment)


def measured(made: Trial, row: Row, choosing: bool, device: str, folder: Path) -> Outcome:
    """The outcome of a trial: read where it was kept, or trained. choosing: without test images."""
    path = folder / ("choosing" if choosing else "test")
    path /= f"{made.method}-{made.rho:g}-{made.smoothing:g}-{made.seed}.json"
    parts = {"data": row.data, "train": row.train, "choosing": choosing, "held_out": HELD_OUT}
    settings = {**asdict(made), **parts, "device": device}

    def compute() -> dict[str, object]:
        train = images(row, "train")
        parts = split_off(train, made.seed) if choosing else (train, images(row, "test"))
        here = (part.to(device) for part in parts)
        return asdict(run(made, *here, weights=path.with_suffix(".safetensors")))

    return Outcome(**kept(path, settings, compute))


def split_off(data: Images, seed: int) -> tuple[Images, Images]:
    """All but 10,000 images, or a fifth of fewer than 50,000, and these."""
    count = min(HELD_OUT, len(data) // 5)
    order = torch.randperm(len(data), generator=generator("held out", seed))
    parts = order[count:], order[:count]
    left, right = (
        replace(data, images=data.images[places], labels=data.labels[places]) for places in parts
    )
    return left, right


def study(chosen: argparse.Namespace, row: Row, smoothing: float) -> Study:
    """Choose ρ of each method, if it is to be, then run all seeds; several trainings at a time."""
    folder = chosen.output / chosen.row
    with workers(chosen.processes) as pool:

        def all_of(trials: Sequence[Trial], choosing: bool) -> list[Outcome]:
            rest = {"row": row, "choosing": choosing, "device": chosen.device, "folder": folder}
            jobs = [partial(measured, each, **rest) for each in trials]
            what = "choosing ρ" if choosing else "seeds"
            return results_of(pool, chosen.processes, jobs, what, "training")

        rhos = {name: METHODS[name].usual for name in chosen.methods}
        if chosen.rho == CHOSEN:
            candidates = [
                trial(row, name, rho, seed, smoothing)
                for name in chosen.methods
                for rho in METHODS[name].rhos
                for seed in CHOOSING_SEEDS
            ]
            found = all_of(candidates, choosing=True)
            rhos = {name: best_rho(name, candidates, found) for name in chosen.methods}
        trials = [
            trial(row, name, rhos[name], seed, smoothing)
            for name in chosen.methods
            for seed in range(chosen.seeds)
        ]
        results = all_of(trials, choosing=False)
    outcomes = {
        name: [r for t, r in zip(trials, results, strict=True) if t.method == name]
        for name in chosen.methods
    }
    return Study(chosen.row, row, smoothing, chosen.rho, rhos, outcomes)


def best_rho(method: str, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> float:
    """The ρ with the highest mean accuracy on what was held out; 0 for a method without one.

    A ρ with which a training ended early is not taken. Raises FloatingPointError where all are so.
    """
    if not METHODS[method].rhos:
        return 0.0
    means = {}
    for rho in METHODS[method].rhos:
        own = [
            outcome.accuracy
            for made, outcome in zip(trials, outcomes, strict=True)
            if made.method == method and made.rho == rho
        ]
        means[rho] = sum(own) / len(own)
    finite = {rho: mean for rho, mean in means.items() if math.isfinite(mean)}
    if not finite:
        raise FloatingPointError(f"{method} ended early with every ρ of {METHODS[method].rhos}")
    return max(finite, key=lambda rho: finite[rho])


def pace_table(chosen: argparse.Namespace, row: Row) -> str:
    """Seconds of steps, and of all trainings of one smoothing one after the other."""
    data = images(row, "train").to(chosen.device)
    lines = [f"{'method':<6}  {'first step, s':>13}  {'a later one, s':>14}  {'all runs, s':>11}"]
    total = 0.0
    for name in chosen.methods:
        made = trial(row, name, METHODS[name].usual, 0, 0.0)
        found = pace(made, data, PACE_STEPS)
        runs = chosen.seeds
        if chosen.rho == CHOSEN:
            runs += len(METHODS[name].rhos) * len(CHOOSING_SEEDS)
        steps = row.epochs * math.ceil(len(data) / made.batch)
        seconds = runs * (found.first + (steps - 1) * found.later)
        total += seconds
        lines.append(f"{name:<6}  {found.first:>13.2f}  {found.later:>14.4f}  {seconds:>11.0f}")
    return "\n".join([*lines, f"together {total:.0f} s, without scores and bases made again"])


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--row",
        choices=tuple(ROWS),
        default="mnist-3fcn",
        help="network and data (%(default)s); synthetic needs no files",
    )
    parser.add_argument("--method", choices=(ALL, *METHODS), default=ALL, help="beside SGD")
    parser.add_argument("--seeds", type=int, default=5, help="of each method (%(default)s)")
    parser.add_argument(
        "--rho",
        choices=(CHOSEN, USUAL),
        default=CHOSEN,
        help="of five, or the middle (%(default)s)",
    )
    parser.add_argument("--pace", action="store_true", help="time some steps, run nothing")
    parser.add_argument("--smoothing", choices=("both", "0", str(SMOOTHING)), default="both")
    parser.add_argument("--epochs", type=int, help="in place of the row's; needs an --output")
    parser.add_argument("--device", default="cpu", help="(%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="at a time (%(default)s)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("out/table1"),
        help="results of one setting (%(default)s)",
    )
    chosen = parser.parse_args(argv)
    for name in ("seeds", "processes", "epochs"):
        value = getattr(chosen, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1; got {value}")
    try:
        torch.empty(0, device=chosen.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        parser.error(f"--device must be one that is there; got {chosen.device}: {reason}")
    every = chosen.method == ALL
    chosen.methods = list(METHODS) if every else list(dict.fromkeys(["SGD", chosen.method]))
    return chosen


def main(argv: list[str] | None = None) -> None:
    """A table for each smoothing, and its numbers as JSON."""
    chosen = parsed(argv)
    row = ROWS[chosen.row]
    if chosen.epochs is not None:
        row = replace(row, epochs=chosen.epochs)
    try:
        for split in ("train", "test"):
            images(row, split)
        if chosen.pace:
            print(pace_table(chosen, row))
            return
        write_studies(chosen, row)
    except OtherSettings as error:
        raise SystemExit(f"{error} with --output") from None
    except (DataNotFound, CorruptFile) as error:
        raise SystemExit(str(error)) from None


def write_studies(chosen: argparse.Namespace, row: Row) -> None:
    """Of one smoothing after the other, each as soon as it is there."""
    levels = (0.0, SMOOTHING) if chosen.smoothing == "both" else (float(chosen.smoothing),)
    for smoothing in levels:
        try:
            found = study(chosen, row, smoothing)
        except FloatingPointError as error:
            print(f"{chosen.row}, label smoothing {smoothing:g}: {error}\n", flush=True)
            continue
        print(f"{in_text(found)}\n", flush=True)
        if chosen.method == ALL:  # a summary of some would take the place of one of all
            path = chosen.output / chosen.row / f"table1-{chosen.row}-{smoothing:g}.json"
            write_json(path, stored(found))
            print(f"wrote {path}\n", flush=True)


if __name__ == "__main__":
    main()
