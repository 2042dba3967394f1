"""Image files as they lie on a disk, read into uint8: MNIST's IDX, CIFAR's binaries, a folder.

Whatever is not as its format says is refused with the file's name.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from igsref.files import replacing
from igsref.images import (
    CorruptFile,
    DataNotFound,
    bytes_of,
    class_folders,
    decoded,
    image_paths,
    read_idx,
)

_MNIST_STEMS = {"train": "train", "test": "t10k"}
_CIFAR_SIDE = 32


class OtherSettings(ValueError):
    """A folder holds what was found with other settings; the message says which."""


def refuse_others(path: Path, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise OtherSettings, with all that differs, unless what a file was made with is wanted."""
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    if names:
        differences = ", ".join(
            f"{name} {found.get(name)}, not {wanted.get(name)}" for name in names
        )
        raise OtherSettings(f"{path} was made with {differences}: give another folder")


@dataclass(frozen=True, eq=False)
class Stored:
    """Pixels (n, channels, height, width) in uint8 and class indices (n,), as stored."""

    pixels: Tensor
    labels: Tensor
    num_classes: int


def read_mnist(folder: Path, split: str) -> Stored:
    """``train-images-idx3-ubyte`` and its labels, or ``t10k-``; ``.gz`` if there is no plain one.

    Raises DataNotFound, CorruptFile.
    """
    stem = _MNIST_STEMS[split]
    images, pixels = read_idx(folder, f"{stem}-images-idx3-ubyte", 3)
    path, labels = read_idx(folder, f"{stem}-labels-idx1-ubyte", 1)
    if len(labels) != len(pixels):
        raise CorruptFile(f"{path} has {len(labels)} labels for {len(pixels)} images in {images}")
    return Stored(pixels[:, None], _checked(labels, 10, path), 10)


def read_cifar10(folder: Path, split: str) -> Stored:
    """``data_batch_1.bin`` to ``data_batch_5.bin``, or ``test_batch.bin``: a label, 3,072 pixels.

    Raises DataNotFound, CorruptFile.
    """
    batches = [f"data_batch_{number}.bin" for number in range(1, 6)]
    names = batches if split == "train" else ["test_batch.bin"]
    parts = [_read_records(folder / name, num_classes=10, labels=1) for name in names]
    return Stored(torch.cat([p.pixels for p in parts]), torch.cat([p.labels for p in parts]), 10)


def read_cifar100(folder: Path, split: str) -> Stored:
    """``train.bin`` or ``test.bin``: a coarse label (unused), a fine one and 3,072 pixels.

    Raises DataNotFound, CorruptFile.
    """
    return _read_records(folder / f"{split}.bin", num_classes=100, labels=2)


def read_folder(folder: Path, cache: Path) -> Stored:
    """``<class>/*.jpg`` or ``.png``, in RGB and of one size; classes and files sorted by name.

    What was decoded is kept in the file ``cache``, and used as long as names, sizes and times of
    the images are the same. Raises DataNotFound, CorruptFile.
    """
    classes = class_folders(folder)
    members = [image_paths(path) for path in classes]
    if not any(members):
        raise DataNotFound(f"looked for <class>/*.jpg or *.png in {folder}; there is none")
    paths = [path for member in members for path in member]
    labels = torch.repeat_interleave(torch.tensor([len(member) for member in members]))
    fingerprint = _fingerprint(folder, paths)
    pixels = _cached(cache, fingerprint)
    if pixels is None:
        pixels = decoded(paths)
        with replacing(cache) as temporary:
            save_file({"pixels": pixels}, temporary, {"fingerprint": fingerprint})
    return Stored(pixels, labels, len(classes))


def _read_records(path: Path, *, num_classes: int, labels: int) -> Stored:
    """CIFAR's records: so many labels, of which the last counts, then red, green and blue."""
    if not path.is_file():
        raise DataNotFound(f"looked for {path.name} in {path.parent}; there is none")
    content = path.read_bytes()
    record = labels + 3 * _CIFAR_SIDE**2
    if not content or len(content) % record:
        raise CorruptFile(f"{path} must have a multiple of {record} bytes; got {len(content)}")
    records = bytes_of(content, 0).reshape(-1, record)
    pixels = records[:, labels:].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE)
    return Stored(pixels, _checked(records[:, labels - 1], num_classes, path), num_classes)


def _checked(labels: Tensor, num_classes: int, path: Path) -> Tensor:
    """The labels in int64. Raises CorruptFile for one that is no class, or for none at all."""
    if not len(labels) or int(labels.max()) >= num_classes:
        got = int(labels.max()) if len(labels) else "none"
        raise CorruptFile(f"{path} must have labels below {num_classes}; got {got}")
    return labels.long()


def _fingerprint(folder: Path, paths: list[Path]) -> str:
    """A digest of the images' names, sizes and times: without reading them."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        line = f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def _cached(cache: Path, fingerprint: str) -> Tensor | None:
    """What was decoded from the same images; None where there is nothing, or nothing readable."""
    if not cache.is_file():
        return None
    try:
        with safe_open(cache, framework="pt") as stored:
            if (stored.metadata() or {}).get("fingerprint") != fingerprint:
                return None
            return stored.get_tensor("pixels")
    except SafetensorError:
        return None
