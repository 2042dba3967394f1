"""The methods of Table 1 by name, the radii that are tried of each, and a training with one.

SGD with momentum, on a cosine schedule, is the base optimizer of all. The other four look at the
gradient elsewhere first (:mod:`igsref.training`).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiments.data import Images, generator
from experiments.networks import build
from experiments.training import augmented, score
from igsref.randomness import preserved_random_state
from igsref.training import ASAM, GR, IGS, SAM, TwoPass

Maker = Callable[[nn.Module, torch.optim.SGD, float], TwoPass]


@dataclass(frozen=True)
class Method:
    """rhos: what ρ is chosen from; none for the base optimizer alone."""

    name: str
    rhos: tuple[float, ...]
    make: Maker | None


METHODS = {
    method.name: method
    for method in (
        Method("SGD", (), None),
        Method("GR", (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), lambda m, base, rho: GR(m, base, rho=rho)),
        Method("SAM", (0.01, 0.02, 0.05, 0.1, 0.2), lambda m, base, rho: SAM(m, base, rho=rho)),
        Method("ASAM", (0.1, 0.2, 0.5, 1.0, 2.0), lambda m, base, rho: ASAM(m, base, rho=rho)),
        Method("IGS", (0.005, 0.01, 0.02, 0.05, 0.1), lambda m, base, rho: IGS(m, base, rho=rho)),
    )
}
"""In the paper's order. The published values of SAM (.05) and ASAM (.5) are in the middle."""


@dataclass(frozen=True)
class Trial:
    """All that decides a training. rho: 0 for SGD. smoothing: of labels, in the training loss.

    flips, crops: mirrored at random, shifted by up to so many pixels.
    """

    network: str
    method: str
    rho: float
    seed: int
    epochs: int
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4
    smoothing: float = 0.0
    flips: bool = False
    crops: int = 0


@dataclass(frozen=True)
class Outcome:
    """Of the images held out: the share of right answers, and mean cross-entropy in nats.

    ended: empty, or why the training ended early; the other numbers are then NaN.
    """

    accuracy: float
    loss: float
    training_loss: float
    seconds: float
    ended: str = ""


def run(trial: Trial, data: Images, held_out: Images) -> Outcome:
    """Train a network where the images are, and score it on those held out.

    Raises ValueError for a method that there is not, and for a ρ that it does not take.
    """
    if trial.method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {trial.method!r}")
    began = time.monotonic()
    with preserved_random_state():  # torch's layers fill themselves
        torch.manual_seed(trial.seed)
        model = build(trial.network, data.num_classes, data.in_channels).to(data.images.device)
    base = torch.optim.SGD(
        model.parameters(),
        lr=trial.learning_rate,
        momentum=trial.momentum,
        weight_decay=trial.decay,
    )
    make = METHODS[trial.method].make
    optimizer = base if make is None else make(model, base, trial.rho)
    steps = math.ceil(len(data) / trial.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(base, trial.epochs * steps)
    for epoch in range(trial.epochs):
        ended = _epoch(trial, model, optimizer, schedule, data, epoch)
        if ended:
            nothing = float("nan")
            return Outcome(nothing, nothing, nothing, time.monotonic() - began, ended)
    found, training = score(model, held_out), score(model, data)
    return Outcome(found.accuracy, found.loss, training.loss, time.monotonic() - began)


def _epoch(
    trial: Trial,
    model: nn.Module,
    optimizer: TwoPass | torch.optim.SGD,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    data: Images,
    epoch: int,
) -> str:
    """One pass over the data in random order; why it ended early, if it did."""
    drawn = generator("table 1", trial.seed, epoch)
    steps = math.ceil(len(data) / trial.batch)
    model.train()
    # Equal up to one image: BatchNorm cannot do with a last batch of a single one.
    for step, batch in enumerate(torch.randperm(len(data), generator=drawn).tensor_split(steps)):
        places = batch.to(data.images.device)
        x = augmented(data.images[places], drawn, flips=trial.flips, crops=trial.crops)
        closure = _closure(model, optimizer, x, data.labels[places], trial.smoothing)
        try:
            loss = optimizer.step(closure)
        except FloatingPointError as error:
            return f"step {step} of epoch {epoch + 1}: {error}"
        if not math.isfinite(float(loss.detach())):
            return f"step {step} of epoch {epoch + 1}: the loss is {float(loss.detach())}"
        schedule.step()
    return ""


def _closure(
    model: nn.Module,
    optimizer: TwoPass | torch.optim.SGD,
    x: Tensor,
    y: Tensor,
    smoothing: float,
) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y, label_smoothing=smoothing)
        loss.backward()
        return loss

    return closure
