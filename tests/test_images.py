"""Images of IDX files and folders as inputs and labels; damaged files are named."""

import gzip
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from igsref.images import CorruptFile, DataNotFound, folder_images, idx_images, is_idx

PIXELS = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([2, 0, 1], dtype=np.uint8)


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\x00\x00\x08" + bytes([array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def written(tmp_path):
    """Images and labels beside each other, the labels gzipped."""
    images = tmp_path / "own-images-idx3-ubyte"
    images.write_bytes(idx(PIXELS))
    (tmp_path / "own-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    return images


def test_idx_files_are_images_between_0_and_1_and_labels(written):
    x, y = idx_images(written)
    assert x.dtype == torch.float32
    assert x.shape == (3, 1, 4, 5)
    assert x[1, 0, 2, 3] == np.float32(PIXELS[1, 2, 3]) / 255
    assert y.tolist() == [2, 0, 1]
    assert is_idx(written)
    assert not is_idx(written.with_name("own-labels-idx1-ubyte.gz"))


def test_gzipped_images_are_found_by_either_name(written):
    zipped = written.with_name(f"{written.name}.gz")
    zipped.write_bytes(gzip.compress(written.read_bytes()))
    written.unlink()
    for name in (written, zipped):
        assert idx_images(name)[0].shape == (3, 1, 4, 5)


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("images-idx3-ubyte", b"\x00\x00\x08\x03", CorruptFile, "an IDX file of bytes with 3 axes"),
        (
            "images-idx3-ubyte",
            idx(PIXELS)[:-1],
            CorruptFile,
            "must have 76 bytes, unpacked; got 75",
        ),
        ("labels-idx1-ubyte", idx(LABELS[:2]), CorruptFile, "has 2 labels for 3 images in"),
        ("labels-idx1-ubyte", idx(PIXELS), CorruptFile, "an IDX file of bytes with 1 axes"),
        ("labels-idx1-ubyte.gz", b"no gzip", CorruptFile, "must be a gzip file"),
        ("labels-idx1-ubyte.gz", None, DataNotFound, "looked for own-labels-idx1-ubyte or"),
        ("images-idx3-ubyte", None, DataNotFound, "looked for own-images-idx3-ubyte or"),
    ],
)
def test_idx_files_that_are_damaged_or_absent_are_named(written, file, content, error, message):
    path = written.with_name(f"own-{file}")
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        idx_images(written)


def test_a_folder_has_a_class_for_each_folder_in_it(tmp_path):
    colours = np.zeros((2, 3, 3), dtype=np.uint8)
    colours[0, 1] = (255, 51, 0)
    for name, count in (("b", 1), ("a", 2)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.fromarray(colours).save(tmp_path / name / f"{number}.png")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    x, y = folder_images(tmp_path)
    assert y.tolist() == [0, 0, 1]
    assert x.shape == (3, 3, 2, 3)
    assert torch.equal(x[0, :, 0, 1], torch.tensor([1.0, 0.2, 0.0]))


def test_a_folder_without_images_or_with_damaged_ones_is_named(tmp_path):
    with pytest.raises(DataNotFound, match=f"looked for <class>/.* in {tmp_path}"):
        folder_images(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    with pytest.raises(CorruptFile, match=r"0\.png must be an image"):
        folder_images(tmp_path)


def test_without_pillow_it_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="need the package pillow"):
        folder_images(tmp_path)
