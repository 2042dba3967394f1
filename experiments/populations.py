"""Small perceptrons on few images, of many kinds, for what goes with their generalisation gap.

Images are averaged to ``SIDES`` pixels a side, so that all the library's exact measures fit. Two
populations of the same recipes: trained for so many epochs, and until one training loss.
"""

import itertools
import time
import warnings
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import torch
from torch import nn

import igsref
from experiments.data import Images, generator
from experiments.recipes import Fitted, Recipe, fitted, shortfall
from experiments.training import score

SIDES = {"mnist": 10, "cifar10": 6, "synthetic": 4}
"""Pixels along a side; with it, m ≤ 4,000 for all widths."""
WIDTHS, DEPTHS = (8, 12, 16, 24), (1, 2)
RATES, BATCHES = (0.02, 0.05, 0.1), (15, 60)
DECAYS, WRONG = (0.0, 1e-3), (0.0, 0.1, 0.2)
EPOCHS = (20, 60, 180)
TARGET, MOST_EPOCHS = 0.1, 1000
IMAGES = 300
FREE, MATCHED = "epochs", "equal training loss"


@dataclass(frozen=True)
class Subject:
    """A network: what was measured of it, and how far its test loss is above its training loss.

    gap: in nats. error_gap: of the shares of wrong answers. measures: name ↦ value; bracket: of the
    IGS; refused: name ↦ why it has no value here. reached: whether it has its training loss, or is
    at a minimum. gap_error: standard error of the gap, where there are several training sets.
    """

    name: str
    parameters: int
    epochs: int
    training_loss: float
    gap: float
    error_gap: float
    measures: dict[str, float]
    bracket: tuple[float, float]
    refused: dict[str, str]
    reached: bool
    seconds: float
    gap_error: float = float("nan")


def perceptron(widths: str, num_classes: int, in_channels: int) -> nn.Module:
    """ReLU network of the widths "inputs-hidden-…", with as many outputs as classes."""
    sizes = [int(width) for width in widths.split("-")] + [num_classes]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def recipes(count: int, inputs: int, population: str, seed: int = 0) -> list[Recipe]:
    """So many kinds of network, drawn without repetition from all combinations.

    Raises ValueError for a population that there is not, and for more than there are.
    """
    if population not in (FREE, MATCHED):
        raise ValueError(f"population must be {FREE!r} or {MATCHED!r}; got {population!r}")
    choices = list(itertools.product(WIDTHS, DEPTHS, RATES, BATCHES, DECAYS, WRONG, EPOCHS))
    if count > len(choices):
        raise ValueError(f"count must be at most {len(choices)}; got {count}")
    order = torch.randperm(len(choices), generator=generator("population", seed))[:count]
    found = []
    for number, place in enumerate(order.tolist()):
        width, depth, rate, batch, decay, wrong, epochs = choices[place]
        recipe = Recipe(
            "-".join([str(inputs), *[str(width)] * depth]),
            images=IMAGES,
            target=0.0,
            wrong=wrong,
            rate=rate,
            batch=batch,
            decay=decay,
            seed=number,
            most_epochs=epochs,
        )
        if population == MATCHED:
            recipe = replace(recipe, target=TARGET, most_epochs=MOST_EPOCHS)
        found.append(recipe)
    return found


def smaller(data: Images, side: int) -> Images:
    """Images averaged to so many pixels a side, in float64."""
    pooled = nn.functional.adaptive_avg_pool2d(data.images.double(), side)
    return replace(data, images=pooled)


def subject(recipe: Recipe, data: Images, test: Images) -> Subject:
    """Train a network in float64, and measure it by every measure of the library.

    One that misses its training loss is compared with no other, and so not measured.
    """
    began = time.monotonic()

    def build(name: str, num_classes: int, in_channels: int) -> nn.Module:
        return perceptron(name, num_classes, in_channels).double()

    trained = fitted(recipe, data, build)
    training, held_out = score(trained.model, trained.data), score(trained.model, test)
    reached = recipe.target == 0 or shortfall(recipe, trained.loss, trained.epochs) is None
    measures, bracket, refused = _measured(trained) if reached else ({}, (nan, nan), {})
    return Subject(
        name=_name(recipe),
        parameters=sum(p.numel() for p in trained.model.parameters()),
        epochs=trained.epochs,
        training_loss=training.loss,
        gap=held_out.loss - training.loss,
        error_gap=training.accuracy - held_out.accuracy,
        measures=measures,
        bracket=bracket,
        refused=refused,
        reached=reached,
        seconds=time.monotonic() - began,
    )


def _measured(
    trained: Fitted,
) -> tuple[dict[str, float], tuple[float, float], dict[str, str]]:
    """Every measure, the bracket of the IGS, and why others have no value."""
    with warnings.catch_warnings():
        # What they say, the bracket and the reasons say too.
        warnings.simplefilter("ignore")
        compared = igsref.compare(trained.model, trained.data.data)
    assert compared.result is not None
    measures = {name: found.value for name, found in compared.measurements.items()}
    return measures, (compared.result.lower, compared.result.upper), compared.refused


def subject_of(stored: dict[str, Any]) -> Subject:
    """From JSON."""
    return Subject(**{**stored, "bracket": tuple(stored["bracket"])})


def _name(recipe: Recipe) -> str:
    return (
        f"{recipe.network}, rate {recipe.rate:g}, batch {recipe.batch}, decay {recipe.decay:g}, "
        f"{recipe.wrong:.0%} wrong"
    )
