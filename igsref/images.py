"""Images as they lie on a disk, into uint8: IDX files, as MNIST's, and folders of classes.

Whatever is not as its format says is refused with the file's name.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

SUFFIXES = (".jpg", ".jpeg", ".png")
_IDX_UBYTE = b"\x00\x00\x08"
_IDX_IMAGES, _IDX_LABELS = "images-idx3", "labels-idx1"


class DataNotFound(FileNotFoundError):
    """The images are not where they were looked for; the message says what and where."""


class CorruptFile(ValueError):
    """A file is not what its format says; the message names it."""


def is_idx(path: Path) -> bool:
    """Whether a file has the name of IDX images: ``…images-idx3-ubyte``, or that with ``.gz``."""
    return _IDX_IMAGES in path.name


def idx_images(path: Path) -> tuple[Tensor, Tensor]:
    """Images (n, 1, height, width) in [0, 1], float32, and labels, from IDX files side by side.

    path: of the images; the labels' has ``labels-idx1`` for ``images-idx3``. Each may be gzipped.
    Raises DataNotFound, CorruptFile.
    """
    name = path.name.removesuffix(".gz")
    own, pixels = read_idx(path.parent, name, 3)
    labels_path, labels = read_idx(path.parent, name.replace(_IDX_IMAGES, _IDX_LABELS), 1)
    if len(labels) != len(pixels):
        raise CorruptFile(
            f"{labels_path} has {len(labels)} labels for {len(pixels)} images in {own}"
        )
    return pixels[:, None].float() / 255, labels.long()


def folder_images(folder: Path) -> tuple[Tensor, Tensor]:
    """Images (n, 3, height, width) in [0, 1], float32, and labels, from ``<class>/*.png`` or .jpg.

    Classes and files sorted by name. Raises DataNotFound, CorruptFile; ImportError without Pillow.
    """
    members = [image_paths(path) for path in class_folders(folder)]
    paths = [path for member in members for path in member]
    if not paths:
        raise DataNotFound(f"looked for <class>/*.jpg or *.png in {folder}; there is none")
    labels = torch.repeat_interleave(torch.tensor([len(member) for member in members]))
    return decoded(paths).float() / 255, labels


def class_folders(folder: Path) -> list[Path]:
    """The folders inside, sorted by name."""
    return sorted(path for path in folder.glob("*") if path.is_dir())


def image_paths(folder: Path) -> list[Path]:
    """The images inside, by their suffixes, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def read_idx(folder: Path, name: str, axes: int) -> tuple[Path, Tensor]:
    """An IDX file of bytes: a magic number, big-endian sizes of 4 bytes each, the entries.

    Raises DataNotFound, CorruptFile.
    """
    path, content = _read_plain_or_gzipped(folder, name)
    start = 4 + 4 * axes
    if content[:4] != _IDX_UBYTE + bytes([axes]) or len(content) < start:
        raise CorruptFile(f"{path} must be an IDX file of bytes with {axes} axes")
    shape = [int(size) for size in np.frombuffer(content[4:start], dtype=">u4")]
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise CorruptFile(f"{path} must have {expected} bytes, unpacked; got {len(content)}")
    return path, bytes_of(content, start).reshape(shape)


def _read_plain_or_gzipped(folder: Path, name: str) -> tuple[Path, bytes]:
    plain, zipped = folder / name, folder / f"{name}.gz"
    if plain.is_file():
        return plain, plain.read_bytes()
    if not zipped.is_file():
        raise DataNotFound(f"looked for {name} or {name}.gz in {folder}; there is neither")
    try:
        return zipped, gzip.decompress(zipped.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptFile(f"{zipped} must be a gzip file; {error}") from error


def bytes_of(content: bytes, start: int) -> Tensor:
    """What comes after so many bytes, as uint8."""
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8)[start:].copy())


def decoded(paths: list[Path]) -> Tensor:
    """Pixels (n, 3, height, width) of images of one size.

    Raises CorruptFile for what is no image, or of another size than the first; ImportError without
    Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images of .jpg and .png files need the package pillow") from error
    pixels: np.ndarray | None = None
    for place, path in enumerate(tqdm(paths, desc="images", delay=2.0, leave=False, disable=None)):
        try:
            with Image.open(path) as image:
                array = np.asarray(image.convert("RGB"))
        # Pillow raises all of these for broken images, of some formats.
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise CorruptFile(f"{path} must be an image; {error}") from error
        if pixels is None:
            pixels = np.empty((len(paths), *array.shape), dtype=np.uint8)
        if array.shape != pixels.shape[1:]:
            size, first = array.shape[:2], pixels.shape[1:3]
            raise CorruptFile(f"{path} must have {first} pixels, as {paths[0].name}; got {size}")
        pixels[place] = array
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
