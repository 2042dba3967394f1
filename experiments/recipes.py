"""Train a network at a constant rate until its mean loss is at a target, with wrong labels or not.

Networks at about one training loss can be compared; those of ``training``, on a schedule of so
many epochs, end wherever they do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from experiments.data import Images, generator, with_label_noise
from experiments.networks import build
from experiments.training import score
from igsref.randomness import preserved_random_state

MOMENTUM = 0.9


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with a constant rate, until its mean loss is at the target.

    wrong: the share of its images that get a wrong label; decay: weight decay.
    """

    network: str
    images: int
    target: float
    wrong: float = 0.0
    rate: float = 0.02
    batch: int = 50
    decay: float = 0.0
    seed: int = 0
    most_epochs: int = 400


@dataclass(frozen=True)
class Fitted:
    """A network in evaluation mode, its images with the labels that it saw, which are wrong.

    loss: the mean over these images, in nats, after so many epochs.
    """

    model: nn.Module
    data: Images
    wrong: Tensor
    epochs: int
    loss: float


Builder = Callable[[str, int, int], nn.Module]
"""A network's name, number of classes, channels of its images ↦ a new network."""


def fitted(recipe: Recipe, data: Images, builder: Builder = build) -> Fitted:
    """The network of a recipe, trained on the first images of data.

    After ``most_epochs`` it is taken as it is, above its target: :func:`shortfall` says so.
    Raises FloatingPointError where the loss is no longer finite.
    """
    clean = replace(data, images=data.images[: recipe.images], labels=data.labels[: recipe.images])
    seen = with_label_noise(clean, recipe.wrong, recipe.seed)
    with preserved_random_state():
        torch.manual_seed(recipe.seed)
        model = builder(recipe.network, data.num_classes, data.in_channels)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.rate, momentum=MOMENTUM, weight_decay=recipe.decay
    )
    for epoch in range(recipe.most_epochs):
        drawn = generator("pool epoch", recipe.seed, epoch)
        for batch in torch.randperm(len(seen), generator=drawn).split(recipe.batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(seen.images[batch]), seen.labels[batch]).backward()
            optimizer.step()
        # A NaN ends it too.
        if not (loss := score(model, seen).loss) > recipe.target:
            break
    if not math.isfinite(loss):
        raise FloatingPointError(f"{recipe.network} diverged: loss {loss} after {epoch + 1} epochs")
    return Fitted(model.eval(), seen, seen.labels != clean.labels, epoch + 1, loss)


def shortfall(recipe: Recipe, loss: float, epochs: int) -> str | None:
    """That a network with this loss after so many epochs has missed its target; None if it has not.

    Such a network is no longer at about the training loss of the others.
    """
    if loss <= recipe.target:
        return None
    return f"loss {loss:.4f} after {epochs} epochs misses the target of {recipe.target:g}"
