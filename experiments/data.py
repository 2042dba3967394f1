"""Labelled images from files that are already there: MNIST, CIFAR-10, CIFAR-100, or drawn ones.

``load_data(name, split)`` looks in the folder that the environment variable IGSREF_DATA names:

| name | looked for there |
|---|---|
| mnist | ``mnist/`` with ``train-images-idx3-ubyte`` and its like, plain or ``.gz`` |
| cifar10 | ``cifar10/`` or ``cifar-10-batches-bin/`` with ``data_batch_1.bin`` and its like |
| cifar100 | ``cifar100/`` or ``cifar-100-binary/`` with ``train.bin`` and ``test.bin`` |

In place of the CIFAR binaries there may be ``train/<class>/*.png`` or ``.jpg``, and ``test/``.
Nothing is ever downloaded. Pixels are scaled to [0, 1], then normalised by ``NORMALISATION``.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from experiments import files
from experiments.files import DataNotFound, Stored

VARIABLE = "IGSREF_DATA"
CACHE = Path("out/data")
"""Where decoded image folders are kept, from the directory of the run."""
SPLITS = ("train", "test")
FOLDERS = {
    "mnist": ("mnist",),
    "cifar10": ("cifar10", "cifar-10-batches-bin"),
    "cifar100": ("cifar100", "cifar-100-binary"),
}
NORMALISATION = {
    "mnist": ((0.1307,), (0.3081,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
"""Mean and standard deviation of each channel of the training images, of pixels in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images (n, channels, height, width) in float32, normalised, and their class indices (n,)."""

    name: str
    images: Tensor
    labels: Tensor
    num_classes: int

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            shapes = f"{tuple(self.images.shape)} and {tuple(self.labels.shape)}"
            raise ValueError(f"images must be (n, c, h, w) and labels (n,); got {shapes}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        """(x, y), what igsref takes as data."""
        return self.images, self.labels

    @property
    def in_channels(self) -> int:
        """1 or 3."""
        return self.images.shape[1]

    def to(self, device: torch.device | str) -> "Images":
        """The same on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def generator(purpose: str, *numbers: int) -> Generator:
    """Random numbers for one purpose, seed and the like: unlike those for any others."""
    entropy = (int.from_bytes(purpose.encode()), *numbers)
    mixed = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return Generator().manual_seed(int(mixed[0]))


def load_data(
    name: str,
    split: str,
    samples: int | None = None,
    *,
    balanced: bool = True,
    seed: int = 0,
    cache: Path = CACHE,
) -> Images:
    """All images of a split, or so many of them by :func:`chosen`, in the order of the files.

    name: mnist, cifar10 or cifar100; split: train or test.
    Raises DataNotFound where the files are absent, CorruptFile for one that is not what it should
    be, ValueError for an unknown name or split and for more samples than there are.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    stored = _reader(name, find_data(name), cache)(split)
    pixels, labels = stored.pixels, stored.labels
    if samples is not None:
        places = chosen(labels, samples, balanced=balanced, seed=seed)
        pixels, labels = pixels[places], labels[places]
    images = normalised(pixels, *NORMALISATION[name])
    return Images(f"{name} {split}", images, labels, stored.num_classes)


def find_data(name: str) -> Path:
    """The folder of a data set, below the one that IGSREF_DATA names.

    Raises ValueError for an unknown name, DataNotFound, with what was looked for and where.
    """
    if name not in FOLDERS:
        raise ValueError(f"data must be one of {', '.join(FOLDERS)}; got {name!r}")
    wanted = " or ".join(f"{folder}/" for folder in FOLDERS[name])
    if not (root := os.environ.get(VARIABLE)):
        raise DataNotFound(f"{name}: set {VARIABLE} to a folder that holds {wanted}; it is not set")
    for folder in FOLDERS[name]:
        if (found := Path(root) / folder).is_dir():
            return found
    raise DataNotFound(f"{name}: looked for {wanted} in {root} ({VARIABLE}); there is none")


def chosen(labels: Tensor, samples: int, *, balanced: bool, seed: int) -> Tensor:
    """The places of so many labels, in rising order; the same ones for the same seed.

    balanced: as many of each class, and one more of some classes, drawn too, where the number of
    classes does not divide ``samples``; else drawn without looking at the labels.
    Raises ValueError for none, or more than there are.
    """
    if not 1 <= samples <= len(labels):
        raise ValueError(f"samples must be from 1 to {len(labels)}; got {samples}")
    drawn = generator("subset", seed)
    order = torch.randperm(len(labels), generator=drawn)
    if not balanced:
        return order[:samples].sort().values
    classes = labels.unique()
    each, more = divmod(samples, len(classes))
    lucky = set(torch.randperm(len(classes), generator=drawn)[:more].tolist())
    places = []
    for number, label in enumerate(classes):
        wanted = each + (number in lucky)
        members = order[labels[order] == label]
        if len(members) < wanted:
            raise ValueError(
                f"samples must leave each class enough; {samples} take {wanted} of class "
                f"{int(label)}, which has {len(members)}: pass balanced=False"
            )
        places.append(members[:wanted])
    return torch.cat(places).sort().values


def normalised(pixels: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """(pixels/255 − mean)/deviation, channel by channel: uint8 (n, c, h, w) to float32."""
    shape = (1, -1, 1, 1)
    scaled = pixels.float() / 255
    return (scaled - torch.tensor(mean).view(shape)) / torch.tensor(deviation).view(shape)


def with_label_noise(data: Images, fraction: float, seed: int) -> Images:
    """Each label replaced, with this probability, by one of the other classes, all alike likely.

    Raises ValueError unless 0 ≤ fraction ≤ 1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"label noise must be from 0 to 1; got {fraction}")
    drawn = generator("label noise", seed)
    wrong = torch.rand(len(data), generator=drawn) < fraction
    shift = wrong * torch.randint(1, data.num_classes, (len(data),), generator=drawn)
    labels = (data.labels + shift.to(data.labels.device)) % data.num_classes
    return replace(data, labels=labels)


def random_images(
    seed: int,
    samples: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    side: int = 32,
    spread: float = 2.0,
) -> Images:
    """Synthetic: a random mean image for each class, N(0, 1), plus noise N(0, spread²) per image.

    Class means depend on the shape alone, so that any two seeds draw from one distribution, as
    training and test images do. Labels are uniform. For trials where no real images are at hand.
    """
    shape = (in_channels, side, side)
    means = torch.randn(num_classes, *shape, generator=generator("class means"))
    drawn = generator("images", seed)
    labels = torch.randint(num_classes, (samples,), generator=drawn)
    noise = torch.randn(samples, *shape, generator=drawn)
    return Images(f"synthetic, seed {seed}", means[labels] + spread * noise, labels, num_classes)


def _reader(name: str, folder: Path, cache: Path) -> Callable[[str], Stored]:
    """What reads a split from this folder, whichever layout it has."""
    if name == "mnist":
        return partial(files.read_mnist, folder)
    if any(folder.glob("*.bin")):
        return partial(_BINARIES[name], folder)
    return lambda split: files.read_folder(folder / split, cache / f"{name}-{split}.safetensors")


_BINARIES = {"cifar10": files.read_cifar10, "cifar100": files.read_cifar100}
