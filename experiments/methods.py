"""The methods of Table 1 by name, the radii that are tried of each, and a training with one.

SGD with momentum, on a cosine schedule, is the base optimizer of all. The other four look at the
gradient elsewhere first (:mod:`igsref.training`).
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from experiments.data import Images, generator
from experiments.networks import build
from experiments.training import augmented, score
from igsref.files import replacing
from igsref.randomness import preserved_random_state
from igsref.training import ASAM, GR, IGS, SAM, TwoPass

Maker = Callable[[nn.Module, torch.optim.SGD, float], TwoPass]


@dataclass(frozen=True)
class Method:
    """rhos: what ρ is chosen from, in rising order; none for the base optimizer alone."""

    name: str
    rhos: tuple[float, ...]
    make: Maker | None

    @property
    def usual(self) -> float:
        """ρ where it is not chosen: the middle one; 0 for the base optimizer alone."""
        return self.rhos[len(self.rhos) // 2] if self.rhos else 0.0


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


@dataclass(frozen=True)
class Pace:
    """Seconds of the first step, with all that is made once and for all, and of each later one."""

    first: float
    later: float


@dataclass(frozen=True, eq=False)
class _Training:
    """What moves while a trial runs."""

    trial: Trial
    data: Images
    model: nn.Module
    optimizer: TwoPass | torch.optim.SGD
    schedule: torch.optim.lr_scheduler.LRScheduler

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in random order, as they are shown."""
        trial, data = self.trial, self.data
        drawn = generator("table 1", trial.seed, epoch)
        order = torch.randperm(len(data), generator=drawn)
        # Equal up to one image: BatchNorm cannot do with a last batch of a single one.
        for batch in order.tensor_split(_steps(trial, data)):
            places = batch.to(data.images.device)
            x = augmented(data.images[places], drawn, flips=trial.flips, crops=trial.crops)
            yield x, data.labels[places]

    def step(self, x: Tensor, y: Tensor) -> float:
        """One step; the loss before it."""

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            smoothing = self.trial.smoothing
            loss = nn.functional.cross_entropy(self.model(x), y, label_smoothing=smoothing)
            loss.backward()
            return loss

        self.model.train()
        loss = float(self.optimizer.step(closure).detach())
        self.schedule.step()
        return loss

    def epoch(self, number: int) -> str:
        """One pass over the data; why it ended early, if it did."""
        for step, (x, y) in enumerate(self.batches(number)):
            where = f"step {step + 1} of epoch {number + 1}"
            try:
                loss = self.step(x, y)
            except FloatingPointError as error:
                return f"{where}: {error}"
            if not math.isfinite(loss):
                return f"{where}: the loss is {loss}"
        broken = [n for n, p in self.model.named_parameters() if not bool(p.isfinite().all())]
        return f"after epoch {number + 1} {broken[0]} is not finite" if broken else ""


def run(trial: Trial, data: Images, held_out: Images, weights: Path | None = None) -> Outcome:
    """Train a network where the images are, and score it on those held out.

    weights: where a training that ends early leaves the weights of its last whole epoch, or the
    initial ones, as safetensors.

    Raises ValueError for a method that there is not, and for a ρ that it does not take.
    """
    began = time.monotonic()
    training = _started(trial, data)
    model, good = training.model, _copied(training.model)
    for epoch in range(trial.epochs):
        if ended := training.epoch(epoch):
            if weights is not None:
                with replacing(weights) as temporary:
                    save_file(good, temporary)
            nothing = float("nan")
            return Outcome(nothing, nothing, nothing, time.monotonic() - began, ended)
        good = _copied(model)
    found, own = score(model, held_out), score(model, data)
    return Outcome(found.accuracy, found.loss, own.loss, time.monotonic() - began)


def pace(trial: Trial, data: Images, steps: int) -> Pace:
    """How long so many steps take, two at least, on this machine."""
    training = _started(trial, data)
    batches = chain.from_iterable(training.batches(epoch) for epoch in count())
    times = []
    for x, y in islice(batches, steps):
        began = time.monotonic()
        training.step(x, y)  # which ends by reading the loss, so with all that was asked for
        times.append(time.monotonic() - began)
    return Pace(times[0], sum(times[1:]) / (len(times) - 1))


def _started(trial: Trial, data: Images) -> _Training:
    if trial.method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {trial.method!r}")
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
    total = trial.epochs * _steps(trial, data)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(base, total)
    return _Training(trial, data, model, optimizer, schedule)


def _steps(trial: Trial, data: Images) -> int:
    """Of an epoch."""
    return math.ceil(len(data) / trial.batch)


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
