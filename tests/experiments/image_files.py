"""Tiny data sets, written to disk as the originals are."""

import gzip
import struct

import numpy as np
from PIL import Image


def idx(array):
    """An array of bytes in IDX: magic number, sizes, entries."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def digits(samples, seed=0):
    """Images (n, 28, 28) and labels (n,) from 0 on."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(256, size=(samples, 28, 28), dtype=np.uint8)
    return pixels, (np.arange(samples) % 10).astype(np.uint8)


def write_mnist(folder, samples, *, stem="train", zipped=False):
    pixels, labels = digits(samples)
    for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
        path, content = folder / f"{stem}-{name}-ubyte", idx(array)
        if zipped:
            path, content = path.with_name(f"{path.name}.gz"), gzip.compress(content)
        path.write_bytes(content)
    return pixels, labels


def write_records(path, samples, *, labels=1, classes=10, seed=0):
    """CIFAR's binary layout; of two labels the first is the coarse one."""
    generator = np.random.default_rng(seed)
    records = generator.integers(256, size=(samples, labels + 3072), dtype=np.uint8)
    records[:, labels - 1] = generator.integers(classes, size=samples)
    path.write_bytes(records.tobytes())
    return records


def write_folder(folder, classes, each, *, side=4):
    """``<class>/<number>.png``, without loss; images (classes, each, side, side, 3)."""
    generator = np.random.default_rng(0)
    shape = (len(classes), each, side, side, 3)
    pixels = generator.integers(256, size=shape, dtype=np.uint8)
    for name, members in zip(classes, pixels, strict=True):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(members):
            Image.fromarray(image).save(folder / name / f"{number:04d}.png")
    return pixels
