"""The leverage ‖P v_i‖²/‖v_i‖² of every image of a network's pool, and what goes with it.

An image's term of the pool IGS is its leverage times expm1 of its loss: what the pool IGS knows
beyond the losses is here.
"""

import math
from dataclasses import dataclass

import scipy.stats
import torch

import igsref
from experiments.data import Images
from experiments.pools import MEMORY, pool_size
from experiments.recipes import Fitted
from experiments.training import score

BAND = (0.1, 1.0)
"""Losses, in nats, between which leverage is compared between networks."""


@dataclass(frozen=True)
class Row:
    """One network; losses in nats. leverage, sample_loss, wrong: of all images of the pool.

    training_loss: the mean over all images that it was trained on, with the labels that it saw.
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
    def mixed(self) -> bool:
        """Whether wrong and right labels can be compared: at least two images have either."""
        return min(sum(self.wrong), len(self.wrong) - sum(self.wrong)) >= 2

    @property
    def _weight(self) -> float:
        return len(self.leverage) / self.labelled


def examined(name: str, trained: Fitted, labelled: int, ratio: float, test: Images) -> Row:
    """One network in a pool of its own training images.

    F takes no labels: one geometry gives the leverage of all images of the pool, and those of the
    labelled ones, which come first, are what the IGS is made of.
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
        trained.loss,
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

    None where the labels are not mixed.
    """
    if not row.mixed:
        return None
    leverage, wrong = torch.tensor(row.leverage), torch.tensor(row.wrong)
    loss = torch.tensor(row.sample_loss).log()
    nearest = (loss[wrong][:, None] - loss[~wrong]).abs().argmin(dim=1)
    difference = leverage[wrong] - leverage[~wrong][nearest]
    return float(difference.mean()), float(difference.std()) / len(difference) ** 0.5


def correlation(first: list[float], second: list[float]) -> float:
    """Spearman's."""
    return float(scipy.stats.spearmanr(first, second).statistic)
