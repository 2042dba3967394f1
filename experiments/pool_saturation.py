"""From which pool on IGS is no longer its ceiling, and what it then says that the loss does not.

    IGSREF_DATA=FOLDER python experiments/pool_saturation.py
    python experiments/pool_saturation.py --data synthetic --quick

F is a mean over a pool of N_F images without labels, IGS a sum over N labelled ones among them.
``pools``: one CNN, m = 5,145, and pools that grow past N_F(C − 1) = m, of other training images or
of mirrored and shifted copies of the labelled ones; lower ≤ IGS ≤ upper is proven for the largest
one, which takes more than twice as long as the value alone. ``networks``: CNNs with m = 2,355, of
other kinds and about equal training loss, in pools of equal size.

What is finished is kept below ``--output``; a run with the same settings goes on from there.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib
import torch

from experiments.data import Images, generator, load_data, random_images
from experiments.files import CorruptFile, DataNotFound, OtherSettings
from experiments.kept import kept
from experiments.leverage import BAND, Row, examined
from experiments.pool_picture import STYLE, picture
from experiments.pool_tables import (
    NETWORK_HEADER,
    POOL_HEADER,
    crossing_line,
    matched_lines,
    network_line,
    over_networks,
    point_line,
)
from experiments.pools import COPIES, IMAGES, Point, measured
from experiments.recipes import Fitted, Recipe, fitted, shortfall

PARTS = ("pools", "networks")
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Sizes:
    """All sizes of a run. images, copies, networks_ratio: N_F(C − 1)/m of pools.

    proven: the ratios of pools of images whose IGS gets a bracket.
    """

    pools: Recipe
    networks: dict[str, Recipe]
    labelled: int
    images: tuple[float, ...]
    copies: tuple[float, ...]
    proven: tuple[float, ...]
    networks_ratio: float
    test: int


BASE = Recipe("cnn2k", images=1000, target=0.5, seed=2)
"""Seeds 0 and 1 showed what to look for: the leverage in ``BAND``. These ones test it."""
KINDS = {
    "true labels": BASE,
    "true labels, other seed": replace(BASE, seed=3),
    "20% wrong labels": replace(BASE, wrong=0.2),
    "20% wrong, other seed": replace(BASE, wrong=0.2, seed=3),
    "50% wrong labels": replace(BASE, wrong=0.5),
    "all labels wrong": replace(BASE, wrong=1.0),
    "weight decay 0.003": replace(BASE, decay=3e-3),
    "a fifth of the rate": replace(BASE, rate=BASE.rate / 5),
    "batches of 200": replace(BASE, batch=200),
    "500 images": replace(BASE, images=500),
}
FULL = Sizes(
    pools=Recipe("cnn5k", images=4000, target=1.0),
    networks=KINDS,
    labelled=200,
    images=(0.9, 1.2, 1.6),
    copies=(1.6,),
    proven=(1.6,),
    networks_ratio=1.8,
    test=2000,
)
_TINY = Recipe("cnn500", images=120, target=1.5, most_epochs=12)
QUICK = Sizes(
    pools=_TINY,
    networks={"true labels": _TINY, "half of labels wrong": replace(_TINY, wrong=0.5)},
    labelled=20,
    images=(0.5, 1.5),
    copies=(1.5,),
    proven=(1.5,),
    networks_ratio=1.5,
    test=50,
)


def pools_part(sizes: Sizes, data: Images, folder: Path) -> list[Point]:
    """Print and return the points of all pools."""
    trained = fitted(sizes.pools, data)
    print(
        f"{sizes.pools.network}, {trained.epochs} epochs on {len(trained.data)} images of "
        f"{data.name}: loss {trained.loss:.4f}; N = {sizes.labelled} labelled"
    )
    _say_shortfall(sizes.pools.network, sizes.pools, trained.loss, trained.epochs)
    print(f"\n{POOL_HEADER}")
    points = []
    for kind, ratios in ((IMAGES, sizes.images), (COPIES, sizes.copies)):
        own = []
        for ratio in ratios:
            prove = kind == IMAGES and ratio in sizes.proven
            own.append(_point(kind, trained, sizes, ratio, folder, prove))
            print(point_line(own[-1]), flush=True)
        print(crossing_line(own), flush=True)
        points += own
    return points


def _say_shortfall(name: str, recipe: Recipe, loss: float, epochs: int) -> None:
    if (said := shortfall(recipe, loss, epochs)) is not None:
        print(f"{name}: {said}", flush=True)


def _point(
    kind: str, trained: Fitted, sizes: Sizes, ratio: float, folder: Path, prove: bool
) -> Point:
    pools = {"data": trained.data.name, "labelled": sizes.labelled, "kind": kind}
    settings = {**asdict(sizes.pools), **pools, "ratio": ratio, "prove": prove}

    def compute() -> dict[str, Any]:
        return asdict(measured(kind, trained, sizes.labelled, ratio, prove=prove))

    return Point(**kept(folder / f"{kind}-{ratio}.json", settings, compute))


def networks_part(sizes: Sizes, data: Images, test: Images, folder: Path) -> list[Row]:
    """Print and return the rows of all networks, and what goes with the gap over them."""
    size = sizes.networks_ratio
    print(
        f"\nN = {sizes.labelled} in pools of {size} m/(C − 1) training images; band: "
        f"{BAND[0]:g} to {BAND[1]:g} nats\n{NETWORK_HEADER}"
    )
    rows = []
    for number, (name, recipe) in enumerate(sizes.networks.items()):
        sizes_here = {"labelled": sizes.labelled, "ratio": size, "test": sizes.test}
        settings = {**asdict(recipe), "data": data.name, **sizes_here}
        path = folder / f"network-{number}.json"
        rows.append(Row(**kept(path, settings, _examine(name, recipe, sizes, data, test))))
        print(network_line(rows[-1]), flush=True)
    for row in rows:
        _say_shortfall(row.name, sizes.networks[row.name], row.training_loss, row.epochs)
    for line in matched_lines(rows):
        print(line)
    alone = sum(row.saturated_alone for row in rows)
    print(f"saturated in the labelled images alone: {alone} of {len(rows)}")
    if len(rows) > 2:
        print("\n".join(over_networks(rows)))
    return rows


def _examine(
    name: str, recipe: Recipe, sizes: Sizes, data: Images, test: Images
) -> Callable[[], dict[str, Any]]:
    def compute() -> dict[str, Any]:
        trained = fitted(recipe, data)
        return asdict(examined(name, trained, sizes.labelled, sizes.networks_ratio, test))

    return compute


def loaded(chosen: argparse.Namespace, sizes: Sizes) -> tuple[Images, Images]:
    """Training images in random order, as many as any part needs, and test images."""
    count = max(r.images for r in (sizes.pools, *sizes.networks.values()))
    if chosen.data == SYNTHETIC:
        return random_images(0, count), random_images(1, sizes.test)
    data, test = (
        load_data(chosen.data, "train", count),
        load_data(chosen.data, "test", sizes.test),
    )
    order = torch.randperm(len(data), generator=generator("pool order"))
    return replace(data, images=data.images[order], labels=data.labels[order]), test


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=("cifar10", SYNTHETIC), default="cifar10")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--part", choices=PARTS, help="only this one, and no figure")
    parser.add_argument("--output", type=Path, default=Path("out/pool"))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Both parts, or one of them; with both the figure."""
    chosen = parsed(argv)
    sizes = QUICK if chosen.quick else FULL
    points, rows = [], []
    try:
        data, test = loaded(chosen, sizes)
        chosen.output.mkdir(parents=True, exist_ok=True)
        if chosen.part != "networks":
            points = pools_part(sizes, data, chosen.output)
        if chosen.part != "pools":
            rows = networks_part(sizes, data, test, chosen.output)
    except OtherSettings as error:
        raise SystemExit(f"{error} with --output") from None
    except (DataNotFound, CorruptFile) as error:
        raise SystemExit(str(error)) from None
    if chosen.part is None:
        path = chosen.output / "pool_at_scale.png"
        with matplotlib.rc_context(STYLE):
            picture(points, rows).savefig(path, dpi=200)
        print(f"\nwrote {path}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
