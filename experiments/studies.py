"""Table 1 of the paper: its rows, and what was found of one, as text and JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from experiments.associations import mean_and_error
from experiments.methods import METHODS, Outcome
from experiments.tables import in_markdown, in_plain_text

SYNTHETIC = "synthetic"
BASE = "SGD"
CHOSEN, USUAL = "chosen", "usual"
"""How ρ comes."""
_EDGE = " *"


@dataclass(frozen=True)
class Row:
    """A network and its data. train: images, all unless given. paper: accuracies in %, by method.

    Epochs, batches and rates are choices made here; those of the paper's main text are not known.
    """

    network: str
    data: str
    epochs: int
    train: int | None = None
    augment: bool = False
    paper: Mapping[str, float] = field(default_factory=dict)


_MNIST = {"SGD": 98.13, "GR": 98.20, "SAM": 98.62, "ASAM": 98.65, "IGS": 98.65}
ROWS = {
    "mnist-3fcn": Row("3fcn", "mnist", 6, paper=_MNIST),
    "cifar10-vgg11bn": Row("vgg11_bn", "cifar10", 200, augment=True),
    "cifar10-resnet56": Row("resnet56", "cifar10", 200, augment=True),
    "cifar10-wrn16-8": Row("wrn16_8", "cifar10", 200, augment=True),
    "cifar100-vgg11bn": Row("vgg11_bn", "cifar100", 200, augment=True),
    "cifar100-resnet56": Row("resnet56", "cifar100", 200, augment=True),
    "cifar100-wrn16-8": Row("wrn16_8", "cifar100", 200, augment=True),
    "cifar10-resnet8": Row("resnet8", "cifar10", 15, train=5000, augment=True),
    SYNTHETIC: Row("3fcn", SYNTHETIC, 2, train=200),
}
"""The paper's seven, one that two processor cores can do, and one to see that it runs."""


@dataclass(frozen=True)
class Study:
    """A row under one smoothing. name: of the row. choice: CHOSEN or USUAL.

    rhos: ρ of each method. outcomes: of each method, the seeds in order.
    """

    name: str
    row: Row
    smoothing: float
    choice: str
    rhos: Mapping[str, float]
    outcomes: Mapping[str, Sequence[Outcome]]

    def accuracies(self, method: str) -> list[float]:
        """In %."""
        return [100 * each.accuracy for each in self.outcomes[method]]

    def differences(self, method: str, other: str) -> list[float]:
        """Accuracy less that of the other method with the same seed, in points of a %."""
        pairs = zip(self.accuracies(method), self.accuracies(other), strict=True)
        return [own - others for own, others in pairs]


def heading(found: Study) -> str:
    """What was trained, and how."""
    row = found.row
    images = "all images" if row.train is None else f"{row.train:,} images"
    return (
        f"{found.name}: {row.network} on {images} of {row.data}, {row.epochs} epochs, label "
        f"smoothing {found.smoothing:g}, ρ {found.choice}"
    )


def rows(found: Study) -> list[list[str]]:
    """A line for each method: accuracies in %, mean ± standard error, paired differences."""
    out = [["method", "ρ", "runs", "accuracy, %", f"less {BASE}", "paper", "s a run"]]
    for method, own in found.outcomes.items():
        less = "–"
        if BASE in found.outcomes and method != BASE:
            less = _shown(*mean_and_error(found.differences(method, BASE)), sign="+")
        paper = f"{found.row.paper[method]:.2f}" if method in found.row.paper else "–"
        seconds = sum(each.seconds for each in own) / len(own)
        accuracy = _shown(*mean_and_error(found.accuracies(method)))
        count = str(len(own))
        rho = f"{found.rhos[method]:g}" + _EDGE * at_the_edge(found, method)
        out.append([method, rho, count, accuracy, less, paper, f"{seconds:.0f}"])
    return out


def at_the_edge(found: Study, method: str) -> bool:
    """Whether the chosen ρ is the smallest or the largest that was tried."""
    tried = METHODS[method].rhos
    return found.choice == CHOSEN and bool(tried) and found.rhos[method] in (tried[0], tried[-1])


def notes(found: Study) -> list[str]:
    """What the table needs to be read, and trainings that ended early."""
    edge = [method for method in found.outcomes if at_the_edge(found, method)]
    marked = [f"{_EDGE.strip()} the smallest or the largest ρ that was tried"] if edge else []
    return marked + ends(found)


def ends(found: Study) -> list[str]:
    """Trainings that ended early, and why."""
    return [
        f"{method}: {each.ended}"
        for method, own in found.outcomes.items()
        for each in own
        if each.ended
    ]


def in_text(found: Study) -> str:
    """For a terminal."""
    return "\n".join([heading(found), in_plain_text(rows(found)), *notes(found)])


def in_page(found: Study) -> str:
    """For a Markdown page."""
    parts = [f"**{heading(found)}.**", in_markdown(rows(found))]
    return "\n\n".join([*parts, *notes(found)]).replace("\n\n* ", "\n\nStarred: ")


def stored(found: Study) -> dict[str, Any]:
    """For JSON."""
    return asdict(found)


def study_of(data: Mapping[str, Any]) -> Study:
    """From JSON."""
    outcomes = {
        method: [Outcome(**each) for each in own] for method, own in data["outcomes"].items()
    }
    return Study(**{**data, "row": Row(**data["row"]), "outcomes": outcomes})


def _shown(mean: float, error: float, sign: str = "") -> str:
    return f"{mean:{sign}.2f} ± {error:.2f}" if math.isfinite(error) else f"{mean:{sign}.2f}"
