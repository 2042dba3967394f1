"""From which pool on IGS is no longer its ceiling, and what it then says that the loss does not.

    IGSREF_DATA=FOLDER python experiments/pool_saturation.py
    python experiments/pool_saturation.py --data synthetic --quick

IGS = (N_F/N) Σ ‖P v_i‖² over N labelled images, P the projector onto the range of the factor of all
N_F images of a pool without labels; its ceiling is (N_F/N) Σ ‖v_i‖². ``pools``: one CNN, m = 5,145,
and pools that grow past N_F(C − 1) = m, of other training images or of mirrored and shifted copies
of the labelled ones; lower ≤ IGS ≤ upper is proven for the largest one, which takes three times as
long as the value. ``networks``: CNNs with m = 2,355, of other kinds and about equal training loss,
in pools of equal size.

What is finished is kept below ``--output``; a run with the same settings goes on from there.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib
import scipy.stats
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

import igsref
from experiments.data import Images, generator, load_data, random_images, with_label_noise
from experiments.files import CorruptFile, DataNotFound, replacing
from experiments.networks import build
from experiments.training import augmented, score
from igsref.randomness import preserved_random_state

MEMORY = 5 * 2**30
ENOUGH = 0.9
"""Saturation below which a pool counts as large enough."""
IMAGES, COPIES = "images", "copies"
SHIFT = 4
"""Pixels by which copies of the labelled images are moved, at most."""
BAND = (0.1, 1.0)
"""Losses, in nats, between which leverage is compared between networks."""
PARTS = ("pools", "networks")
SYNTHETIC = "synthetic"
MOMENTUM = 0.9


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with a constant rate, until its mean loss is at the target."""

    network: str
    images: int
    target: float
    wrong: float = 0.0
    rate: float = 0.02
    batch: int = 50
    decay: float = 0.0
    augment: bool = False
    seed: int = 0
    most_epochs: int = 400


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
    networks={"true labels": _TINY, "half of the labels wrong": replace(_TINY, wrong=0.5)},
    labelled=20,
    images=(0.5, 1.5),
    copies=(1.5,),
    proven=(1.5,),
    networks_ratio=1.5,
    test=50,
)


@dataclass(frozen=True)
class Fitted:
    """A network in evaluation mode, its images with the labels that it saw, which are wrong."""

    model: nn.Module
    data: Images
    wrong: Tensor
    epochs: int


@dataclass(frozen=True)
class Point:
    """One pool: its kind and size, rank of F and its bound by structure, IGS, ceiling, CPU time.

    bracket: lower and upper end and their grade, where they were asked for.
    """

    kind: str
    pool_size: int
    rows: int
    parameters: int
    rank: int
    rank_bound: int
    value: float
    ceiling: float
    seconds: float
    bracket: tuple[float, float, str] | None = None

    @property
    def ratio(self) -> float:
        """N_F(C − 1)/m."""
        return self.rows / self.parameters

    @property
    def saturation(self) -> float:
        """IGS over its ceiling."""
        return self.value / self.ceiling


@dataclass(frozen=True)
class Row:
    """One network; losses in nats. leverage, sample_loss, wrong: of all images of the pool.

    spread: the mean of 1 − Σ p_c² = tr Λ over the pool, which depends on the outputs alone.
    """

    name: str
    epochs: int
    training_loss: float
    test_loss: float
    test_accuracy: float
    labelled: int
    saturated_alone: bool
    spread: float
    leverage: list[float]
    sample_loss: list[float]
    wrong: list[bool]

    @property
    def gap(self) -> float:
        """Test loss minus training loss."""
        return self.test_loss - self.training_loss

    @property
    def loss(self) -> float:
        """Mean over the labelled images."""
        return sum(self.sample_loss[: self.labelled]) / self.labelled

    @property
    def ceiling(self) -> float:
        """(N_F/N) Σ expm1(loss)."""
        return self._weight * sum(map(math.expm1, self.sample_loss[: self.labelled]))

    @property
    def value(self) -> float:
        """(N_F/N) Σ leverage·expm1(loss)."""
        pairs = zip(self.leverage, self.sample_loss, strict=True)
        terms = [leverage * math.expm1(loss) for leverage, loss in pairs]
        return self._weight * sum(terms[: self.labelled])

    @property
    def missing(self) -> float:
        """Mean of 1 − leverage over the images of the pool."""
        return 1 - sum(self.leverage) / len(self.leverage)

    @property
    def missing_in_band(self) -> float:
        """The same, over the images with a loss in ``BAND``; NaN for none."""
        pairs = zip(self.leverage, self.sample_loss, strict=True)
        inside = [1 - leverage for leverage, loss in pairs if BAND[0] <= loss <= BAND[1]]
        return sum(inside) / len(inside) if inside else math.nan

    @property
    def _weight(self) -> float:
        return len(self.leverage) / self.labelled


def fitted(recipe: Recipe, data: Images) -> Fitted:
    """The network of a recipe, trained on the first images of data."""
    clean = replace(data, images=data.images[: recipe.images], labels=data.labels[: recipe.images])
    seen = with_label_noise(clean, recipe.wrong, recipe.seed)
    with preserved_random_state():
        torch.manual_seed(recipe.seed)
        model = build(recipe.network, data.num_classes, data.in_channels)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.rate, momentum=MOMENTUM, weight_decay=recipe.decay
    )
    for epoch in range(recipe.most_epochs):
        drawn = generator("pool epoch", recipe.seed, epoch)
        for batch in torch.randperm(len(seen), generator=drawn).split(recipe.batch):
            images = seen.images[batch]
            if recipe.augment:
                images = augmented(images, drawn, flips=True, crops=SHIFT)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), seen.labels[batch]).backward()
            optimizer.step()
        if not (loss := score(model, seen).loss) > recipe.target:
            break
    if not math.isfinite(loss):
        raise FloatingPointError(f"{recipe.network} diverged: loss {loss} after {epoch + 1} epochs")
    return Fitted(model.eval(), seen, seen.labels != clean.labels, epoch + 1)


def pool(kind: str, images: Tensor, labelled: int, size: int) -> Tensor:
    """The labelled images, which come first, and as many others as make ``size``.

    Copies are mirrored with probability ½ and moved by up to ``SHIFT`` pixels along each axis.
    """
    own, missing = images[:labelled], size - labelled
    if kind == IMAGES:
        others = images[labelled:size]
    else:
        repeated = own.repeat(-(-missing // labelled), 1, 1, 1)[:missing]
        others = augmented(repeated, generator("pool copies"), flips=True, crops=SHIFT)
    if len(others) < missing:
        raise ValueError(f"a pool of {size} images was asked for; there are {len(images)}")
    return torch.cat([own, others])


def pool_size(model: nn.Module, ratio: float, num_classes: int) -> int:
    """N_F for which N_F(C − 1) is about ratio × m."""
    parameters = sum(tensor.numel() for tensor in model.parameters())
    return round(ratio * parameters / (num_classes - 1))


def labelled_and_pool(
    kind: str, trained: Fitted, labelled: int, ratio: float
) -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
    """Data and options of igsref for a pool of this kind and relative size."""
    x, y = (part[:labelled] for part in trained.data.data)
    size = max(labelled, pool_size(trained.model, ratio, trained.data.num_classes))
    inputs = pool(kind, trained.data.images, labelled, size)
    return (x, y), {"fisher_data": inputs, "members": torch.arange(labelled), "memory": MEMORY}


def measured(kind: str, trained: Fitted, labelled: int, ratio: float, *, prove: bool) -> Point:
    """IGS of the labelled images in a pool, by a dense factorisation; with its bracket or without.

    Where it is asked for, the CPU time holds that of the bracket.
    """
    data, options = labelled_and_pool(kind, trained, labelled, ratio)
    began = time.process_time()
    geometry = igsref.as_geometry(trained.model, data, **options)
    problem = geometry.problem
    energy = geometry.sample_energy(problem.residuals())
    bracket = None
    if prove:
        result = igsref.exact_igs(geometry)
        bracket = result.lower, result.upper, result.grade
    seconds = time.process_time() - began
    most = problem.likelihood.ceiling(problem.labelled_logits, problem.targets)
    ceiling = most / problem.multiplicity()
    return Point(
        kind,
        problem.pool_size,
        problem.num_rows,
        problem.num_parameters,
        geometry.space.dimension,
        geometry.structural.value,
        problem.weight * float(torch.minimum(energy, ceiling).sum()),
        problem.weight * float(ceiling.sum()),
        seconds,
        bracket,
    )


def examined(name: str, trained: Fitted, labelled: int, ratio: float, test: Images) -> Row:
    """One network in a pool of its own training images.

    F takes no labels: one geometry gives the leverage ‖P v_i‖²/‖v_i‖² of all images of the pool,
    and those of the labelled ones, which come first, are what the IGS is made of.
    """
    size = pool_size(trained.model, ratio, trained.data.num_classes)
    x, y = trained.data.data
    alone = igsref.as_geometry(trained.model, (x[:labelled], y[:labelled]), memory=MEMORY)
    geometry = igsref.as_geometry(trained.model, (x[:size], y[:size]), memory=MEMORY)
    problem = geometry.problem
    ceiling = problem.likelihood.ceiling(problem.labelled_logits, problem.targets)
    energy = geometry.sample_energy(problem.residuals())
    on_test = score(trained.model, test)
    return Row(
        name,
        trained.epochs,
        score(trained.model, trained.data).loss,
        on_test.loss,
        on_test.accuracy,
        labelled,
        alone.saturated,
        1 - float(problem.labelled_logits.softmax(dim=1).square().sum(dim=1).mean()),
        torch.where(ceiling > 0, energy / ceiling, 1.0).clamp(max=1.0).tolist(),
        ceiling.log1p().tolist(),
        trained.wrong[:size].tolist(),
    )


def matched(row: Row) -> tuple[float, float] | None:
    """Leverage of wrong images minus that of the right one nearest in log loss: mean, error of it.

    None for fewer than two of either.
    """
    leverage, wrong = torch.tensor(row.leverage), torch.tensor(row.wrong)
    loss = torch.tensor(row.sample_loss).log()
    if min(int(wrong.sum()), int((~wrong).sum())) < 2:
        return None
    nearest = (loss[wrong][:, None] - loss[~wrong]).abs().argmin(dim=1)
    difference = leverage[wrong] - leverage[~wrong][nearest]
    return float(difference.mean()), float(difference.std()) / len(difference) ** 0.5


def correlation(first: list[float], second: list[float]) -> float:
    """Spearman's."""
    return float(scipy.stats.spearmanr(first, second).statistic)


def crossing(points: list[Point]) -> tuple[float, float] | None:
    """The ratios of neighbouring sizes between which saturation falls below ``ENOUGH``."""
    points = sorted(points, key=lambda point: point.ratio)
    below = [point.saturation < ENOUGH for point in points]
    if True not in below:
        return None
    first = below.index(True)
    return (points[first - 1].ratio if first else 0.0), points[first].ratio


def kept(path: Path, settings: Any, compute: Callable[[], Any]) -> Any:
    """What compute gives as JSON: read where the file holds it for the same settings."""
    wanted = json.loads(json.dumps(settings))
    if path.is_file() and (stored := json.loads(path.read_text()))["settings"] == wanted:
        return stored["result"]
    result = compute()
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"settings": wanted, "result": result}) + "\n")
    return result


POOL_HEADER = (
    "pool         N_F  N_F(C−1)   /m    rank  rank ≤          IGS      ceiling  saturation    CPU s"
)


def pools_part(sizes: Sizes, data: Images, folder: Path) -> list[Point]:
    """Print and return the points of all pools."""
    trained = fitted(sizes.pools, data)
    found = score(trained.model, trained.data)
    print(
        f"{sizes.pools.network}, {trained.epochs} epochs on {len(trained.data)} images of "
        f"{data.name}: loss {found.loss:.4f}; N = {sizes.labelled} labelled\n\n{POOL_HEADER}"
    )
    points = []
    for kind, ratios in ((IMAGES, sizes.images), (COPIES, sizes.copies)):
        own = []
        for ratio in ratios:
            prove = kind == IMAGES and ratio in sizes.proven
            own.append(_point(kind, trained, sizes, ratio, folder, prove))
            print(point_line(own[-1]), flush=True)
        if (between := crossing(own)) is not None:
            low, high = between
            where = f"between {low:.2f} and {high:.2f}" if low else f"at {high:.2f}, the smallest"
            print(f"{kind}: below {ENOUGH} {where}", flush=True)
        points += own
    return points


def _point(
    kind: str, trained: Fitted, sizes: Sizes, ratio: float, folder: Path, prove: bool
) -> Point:
    settings = [asdict(sizes.pools), trained.data.name, sizes.labelled, kind, ratio, prove]

    def compute() -> dict[str, Any]:
        return asdict(measured(kind, trained, sizes.labelled, ratio, prove=prove))

    return Point(**kept(folder / f"{kind}-{ratio}.json", settings, compute))


def point_line(point: Point) -> str:
    line = (
        f"{point.kind:8} {point.pool_size:7} {point.rows:9} {point.ratio:5.2f} {point.rank:7} "
        f"{point.rank_bound:7} {point.value:12.6g} {point.ceiling:12.6g} {point.saturation:11.4f} "
        f"{point.seconds:8.0f}"
    )
    if point.bracket is None:
        return line
    lower, upper, grade = point.bracket
    most = upper / point.ceiling
    return f"{line}\n  {grade}: {lower:.12g} ≤ IGS ≤ {upper:.12g}, saturation ≤ {most:.6f}"


NETWORK_HEADER = (
    f"{'network':23}  loss  ceil.    IGS   sat. 1−lev.  in band  tr Λ   gap     ρ   wrong − right"
)


def networks_part(sizes: Sizes, data: Images, test: Images, folder: Path) -> list[Row]:
    """Print and return the rows of all networks, and what goes with the gap over them."""
    size = sizes.networks_ratio
    print(
        f"\nN = {sizes.labelled} in pools of {size} m/(C − 1) training images; band: "
        f"{BAND[0]:g} to {BAND[1]:g} nats\n{NETWORK_HEADER}"
    )
    rows = []
    for number, (name, recipe) in enumerate(sizes.networks.items()):
        settings = [asdict(recipe), data.name, sizes.labelled, size, sizes.test]
        path = folder / f"network-{number}.json"
        rows.append(Row(**kept(path, settings, _examine(name, recipe, sizes, data, test))))
        print(network_line(rows[-1]), flush=True)
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


def network_line(row: Row) -> str:
    """Ceiling and IGS over N_F; ρ is Spearman's of leverage and loss, over the pool."""
    difference = matched(row)
    shown = "–" if difference is None else f"{difference[0]:+.4f} ± {difference[1]:.4f}"
    count = len(row.leverage)
    return (
        f"{row.name:23} {row.loss:5.3f} {row.ceiling / count:6.3f} {row.value / count:6.3f} "
        f"{row.value / row.ceiling:6.4f} {row.missing:6.4f} {row.missing_in_band:8.5f} "
        f"{row.spread:5.3f} {row.gap:5.2f} {correlation(row.leverage, row.sample_loss):5.2f} "
        f"{shown:>15}"
    )


def over_networks(rows: list[Row]) -> Iterator[str]:
    """Spearman's correlation of each number with the gap, the loss of the labelled, and tr Λ."""
    numbers: dict[str, Callable[[Row], float]] = {
        "loss": lambda row: row.loss,
        "ceiling": lambda row: row.ceiling,
        "pool IGS": lambda row: row.value,
        "saturation": lambda row: row.value / row.ceiling,
        "1 − leverage": lambda row: row.missing,
        "the same in band": lambda row: row.missing_in_band,
        "tr Λ": lambda row: row.spread,
    }
    yield f"Spearman over {len(rows)} networks   gap   loss   tr Λ"
    others = [[one(row) for row in rows] for one in (_gap, numbers["loss"], numbers["tr Λ"])]
    for name, number in numbers.items():
        values = [number(row) for row in rows]
        shown = " ".join(f"{correlation(values, other):+6.2f}" for other in others)
        yield f"{name:24} {shown}"


def _gap(row: Row) -> float:
    return row.gap


BLUE, ORANGE = "#0072B2", "#D55E00"
STYLE = {"font.size": 8, "axes.titlesize": 8, "axes.linewidth": 0.6}


def picture(points: list[Point], rows: list[Row]) -> Figure:
    """Saturation against relative size of the pool; leverage against loss in one network."""
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_saturation(left, points)
    mixed = [row for row in rows if matched(row) is not None]
    draw_leverage(right, mixed[0])
    return figure


def draw_saturation(panel: Axes, points: list[Point]) -> None:
    styles = {
        IMAGES: (BLUE, "o-", "other training images"),
        COPIES: (ORANGE, "s--", "copies, mirrored and shifted"),
    }
    for kind, (colour, style, label) in styles.items():
        own = sorted((p for p in points if p.kind == kind), key=lambda p: p.ratio)
        x, y = [p.ratio for p in own], [p.saturation for p in own]
        panel.plot(x, y, style, color=colour, markersize=4, linewidth=1.2, label=label)
    panel.axhline(ENOUGH, color="black", linewidth=0.6, linestyle=(0, (4, 3)), zorder=0)
    panel.set(xlabel="$N_F(C-1)/m$", ylabel="saturation, IGS / ceiling", ylim=(0, 1.04))
    panel.legend(loc="lower left", frameon=False)
    panel.set_title(f"(a)  $m = {points[0].parameters:,}$", loc="left")


def draw_leverage(panel: Axes, row: Row) -> None:
    wrong = torch.tensor(row.wrong)
    loss, leverage = torch.tensor(row.sample_loss), torch.tensor(row.leverage)
    groups = ((~wrong, BLUE, "o", "right label"), (wrong, ORANGE, "^", "wrong label"))
    for which, colour, marker, label in groups:
        panel.scatter(
            *(loss[which], leverage[which]),
            **{"s": 11, "c": colour, "marker": marker, "linewidths": 0, "alpha": 0.6},
            label=f"{label} ({int(which.sum())})",
        )
    panel.set(xscale="log", xlabel="training loss of the image (nats)", ylim=(0, 1.04))
    panel.set(ylabel="leverage $\\Vert P v_i\\Vert^2/\\Vert v_i\\Vert^2$ in the pool")
    panel.legend(loc="lower right", frameon=False)
    panel.set_title(f"(b)  network: {row.name}", loc="left")


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
    try:
        data, test = loaded(chosen, sizes)
    except (DataNotFound, CorruptFile) as error:
        raise SystemExit(str(error)) from None
    chosen.output.mkdir(parents=True, exist_ok=True)
    points, rows = [], []
    if chosen.part != "networks":
        points = pools_part(sizes, data, chosen.output)
    if chosen.part != "pools":
        rows = networks_part(sizes, data, test, chosen.output)
    if chosen.part is None:
        path = chosen.output / "pool_at_scale.png"
        with matplotlib.rc_context(STYLE):
            picture(points, rows).savefig(path, dpi=200)
        print(f"\nwrote {path}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
