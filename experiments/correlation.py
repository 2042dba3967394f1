"""Figure 3: which measures go with the generalisation gap, over networks of many kinds?

    IGSREF_DATA=FOLDER python experiments/correlation.py --data mnist
    python experiments/correlation.py --data synthetic --quick

Perceptrons with m ≤ 4,000 are trained on 300 images: so many epochs, or until one training loss,
where the loss itself can no longer explain the gap. Every measure of the library stands beside
three that cost nothing: the training loss, with its sign changed, the ceiling of the IGS, which is
a function of the losses alone, and m/N. Third comes a control where theory applies, with fresh
data for the true gap (:mod:`experiments.controls`).

Each network is kept below ``--output`` as it is done; a run with the same settings goes on.
"""

import argparse
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib

from experiments.controls import SETTINGS, conditions, control
from experiments.correlation_picture import STYLE, picture
from experiments.data import Images, load_data, random_images
from experiments.files import CorruptFile, DataNotFound, OtherSettings
from experiments.findings import finding, in_text, stored
from experiments.kept import kept, write_json
from experiments.populations import (
    FREE,
    IMAGES,
    MATCHED,
    SIDES,
    Subject,
    recipes,
    smaller,
    subject,
    subject_of,
)
from experiments.workers import results_of, workers

CONTROL = "control"
PARTS = (FREE, MATCHED, CONTROL)
NETWORKS, TEST = 48, 10_000
QUICK_NETWORKS, QUICK_TEST = 6, 200
SYNTHETIC = "synthetic"


def loaded(name: str, test: int) -> tuple[Images, Images]:
    """300 training images and so many test images, 10,000 for all that there are; few pixels."""
    if name == SYNTHETIC:
        sides = {"side": SIDES[name], "in_channels": 1, "spread": 1.0}
        parts = random_images(0, IMAGES, **sides), random_images(1, test, **sides)
    else:
        count = None if test == TEST else test  # classes of MNIST's test images differ in size
        parts = load_data(name, "train", IMAGES), load_data(name, "test", count)
    train, held_out = (smaller(part, SIDES[name]) for part in parts)
    return train, held_out


def population(chosen: argparse.Namespace, part: str) -> list[Subject]:
    """The networks of a part, several at a time, each kept as soon as it is done."""
    count = QUICK_NETWORKS if chosen.quick else NETWORKS
    test = QUICK_TEST if chosen.quick else TEST
    if part == CONTROL:
        settings = SETTINGS[:count] if chosen.quick else SETTINGS
        jobs = [partial(_control, number, chosen.output) for number in range(len(settings))]
    else:
        jobs = [
            partial(_member, number, part, count, chosen.data, test, chosen.output)
            for number in range(count)
        ]
    with workers(chosen.processes) as pool:
        return results_of(pool, chosen.processes, jobs, part, "network")


def _member(number: int, part: str, count: int, data: str, test: int, folder: Path) -> Subject:
    train, held_out = loaded(data, test)
    recipe = recipes(count, train.images[0].numel(), part)[number]
    path = folder / f"{part.replace(' ', '-')}-{number}.json"
    settings = {**asdict(recipe), "data": data, "test": test, "side": SIDES[data]}
    return subject_of(kept(path, settings, lambda: asdict(subject(recipe, train, held_out))))


def _control(number: int, folder: Path) -> Subject:
    chosen = SETTINGS[number]
    path = folder / f"{CONTROL}-{number}.json"
    return subject_of(kept(path, conditions(chosen), lambda: asdict(control(chosen))))


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=tuple(SIDES), default="mnist")
    parser.add_argument("--part", choices=PARTS, help="only this one, and no figure")
    parser.add_argument("--quick", action="store_true", help="few networks, to see that it runs")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, help="out/correlation/DATA unless given")
    chosen = parser.parse_args(argv)
    if chosen.processes < 1:
        parser.error(f"--processes must be at least 1; got {chosen.processes}")
    chosen.output = chosen.output or Path("out/correlation") / chosen.data
    return chosen


def main(argv: list[str] | None = None) -> None:
    """All parts, or one of them; with all of them the figure, and a summary as JSON."""
    chosen = parsed(argv)
    try:
        loaded(chosen.data, QUICK_TEST)
    except (DataNotFound, CorruptFile) as error:
        raise SystemExit(str(error)) from None
    chosen.output.mkdir(parents=True, exist_ok=True)
    parts = PARTS if chosen.part is None else (chosen.part,)
    try:
        subjects = {part: population(chosen, part) for part in parts}
        found = {part: finding(part, own) for part, own in subjects.items()}
    except OtherSettings as error:
        raise SystemExit(f"{error} with --output") from None
    except (ValueError, FloatingPointError) as error:
        # A damaged file, a part that has no network, a training that overflows.
        raise SystemExit(str(error)) from None
    for own in found.values():
        print(in_text(own), end="\n\n", flush=True)
    if chosen.part is None:
        written = chosen.output / f"figure3-{chosen.data}.json"
        write_json(written, [stored(own) for own in found.values()])
        drawn = chosen.output / f"figure3-{chosen.data}.png"
        ranked = {part: own.ranking for part, own in found.items()}
        shown = {part: [each for each in own if each.reached] for part, own in subjects.items()}
        with matplotlib.rc_context(STYLE):
            picture(ranked, shown).savefig(drawn, dpi=200)
        print(f"wrote {written} and {drawn}")


if __name__ == "__main__":
    main()
