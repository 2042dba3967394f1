"""Image files are read to the byte, and refused by name where they are not what they should be."""

import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

from experiments import files
from experiments.files import (
    CorruptFile,
    DataNotFound,
    read_cifar10,
    read_cifar100,
    read_folder,
    read_mnist,
)
from tests.experiments.image_files import digits, idx, write_folder, write_mnist, write_records

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("split", "stem"), [("train", "train"), ("test", "t10k")])
def test_mnist_is_read_to_the_byte_plain_and_zipped(tmp_path, split, stem, zipped):
    pixels, labels = write_mnist(tmp_path, 12, stem=stem, zipped=zipped)
    stored = read_mnist(tmp_path, split)
    assert np.array_equal(stored.pixels.numpy(), pixels[:, None])
    assert stored.labels.tolist() == labels.tolist()
    assert stored.labels.dtype == torch.int64
    assert stored.num_classes == 10


def test_the_five_batches_of_cifar10_come_in_their_order(tmp_path):
    records = [
        write_records(tmp_path / f"data_batch_{number}.bin", 3, seed=number)
        for number in range(1, 6)
    ]
    stored = read_cifar10(tmp_path, "train")
    together = np.concatenate(records)
    assert stored.labels.tolist() == together[:, 0].tolist()
    assert np.array_equal(stored.pixels.numpy(), together[:, 1:].reshape(-1, 3, 32, 32))
    assert stored.num_classes == 10


def test_the_test_images_of_cifar10_are_one_batch(tmp_path):
    records = write_records(tmp_path / "test_batch.bin", 4)
    assert read_cifar10(tmp_path, "test").labels.tolist() == records[:, 0].tolist()


@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar100_has_fine_labels_behind_the_coarse_ones(tmp_path, split):
    records = write_records(tmp_path / f"{split}.bin", 4, labels=2, classes=100)
    stored = read_cifar100(tmp_path, split)
    assert stored.labels.tolist() == records[:, 1].tolist()
    assert np.array_equal(stored.pixels.numpy(), records[:, 2:].reshape(-1, 3, 32, 32))
    assert stored.num_classes == 100


def test_a_folder_is_sorted_by_class_and_name(tmp_path):
    pixels = write_folder(tmp_path / "train", ("cat", "dog"), 3)
    (tmp_path / "train" / "dog" / "notes.txt").write_text("not an image")
    stored = read_folder(tmp_path / "train", tmp_path / "cache.safetensors")
    expected = pixels.reshape(6, 4, 4, 3).transpose(0, 3, 1, 2)
    assert np.array_equal(stored.pixels.numpy(), expected)
    assert stored.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert stored.num_classes == 2


def test_decoded_images_are_kept_until_one_of_them_changes(tmp_path, monkeypatch):
    pixels = write_folder(tmp_path / "train", ("cat", "dog"), 2)
    cache = tmp_path / "out" / "cache.safetensors"
    first = read_folder(tmp_path / "train", cache)
    decoded = files.decoded
    monkeypatch.setattr(files, "decoded", None)
    again = read_folder(tmp_path / "train", cache)
    assert torch.equal(again.pixels, first.pixels)
    monkeypatch.setattr(files, "decoded", decoded)
    # Another image of the same name and size betrays itself by its time.
    changed = tmp_path / "train" / "cat" / "0001.png"
    size = changed.stat().st_size
    Image.fromarray(pixels[1, 0]).save(changed)
    changed.write_bytes(changed.read_bytes().ljust(size, b"\0")[:size])
    os.utime(changed, ns=(0, 0))
    now = read_folder(tmp_path / "train", cache).pixels[1]
    assert torch.equal(now, first.pixels[2])
    Image.fromarray(255 - pixels[0, 0]).save(tmp_path / "train" / "cat" / "0002.png")
    assert len(read_folder(tmp_path / "train", cache).pixels) == 5


def test_a_damaged_cache_is_decoded_anew(tmp_path):
    write_folder(tmp_path / "train", ("cat", "dog"), 2)
    cache = tmp_path / "cache.safetensors"
    first = read_folder(tmp_path / "train", cache)
    cache.write_bytes(cache.read_bytes()[:-1])
    assert torch.equal(read_folder(tmp_path / "train", cache).pixels, first.pixels)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1])


def with_magic(path):
    path.write_bytes(b"\0\0\x0d" + path.read_bytes()[3:])


def with_label_10(path):
    path.write_bytes(path.read_bytes()[:-1] + b"\x0a")


def without_a_label(path):
    path.write_bytes(idx(digits(11)[1]))


def without_any_label(path):
    path.write_bytes(idx(np.zeros(0, dtype=np.uint8)))
    (path.parent / IMAGES).write_bytes(idx(np.zeros((0, 28, 28), dtype=np.uint8)))


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (IMAGES, cut_short, "must have 9424 bytes, unpacked; got 9423"),
        (IMAGES, with_magic, "must be an IDX file of bytes with 3 axes"),
        (IMAGES, emptied, "must be an IDX file of bytes with 3 axes"),
        (LABELS, with_magic, "must be an IDX file of bytes with 1 axes"),
        (LABELS, with_label_10, "must have labels below 10; got 10"),
        (LABELS, without_a_label, "has 11 labels for 12 images in "),
        (LABELS, without_any_label, "must have labels below 10; got none"),
    ],
)
def test_damaged_idx_files_are_refused_by_name(tmp_path, name, damage, message):
    write_mnist(tmp_path, 12)
    damage(tmp_path / name)
    with pytest.raises(CorruptFile, match=f"^{re.escape(str(tmp_path / name))} {message}"):
        read_mnist(tmp_path, "train")


@pytest.mark.parametrize("damage", [cut_short, emptied, with_magic])
def test_damaged_gzip_files_are_refused_by_name(tmp_path, damage):
    write_mnist(tmp_path, 12, zipped=True)
    path = tmp_path / f"{IMAGES}.gz"
    damage(path)
    # Python unpacks nothing from nothing; that is no IDX file then.
    message = f"^{re.escape(str(path))} must be (a gzip file|an IDX file)"
    with pytest.raises(CorruptFile, match=message):
        read_mnist(tmp_path, "train")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, "must have a multiple of 3073 bytes; got 6145"),
        (emptied, "must have a multiple of 3073 bytes; got 0"),
        (lambda path: path.write_bytes(b"\x0a" * 3073), "must have labels below 10; got 10"),
    ],
)
def test_damaged_records_are_refused_by_name(tmp_path, damage, message):
    path = tmp_path / "test_batch.bin"
    write_records(path, 2)
    damage(path)
    with pytest.raises(CorruptFile, match=f"^{re.escape(str(path))} {message}$"):
        read_cifar10(tmp_path, "test")


def cut_in_half(path):
    """Pillow does not miss a last byte, which belongs to no pixel."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_another_size(path):
    Image.new("RGB", (5, 4)).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_in_half, "must be an image; "),
        (emptied, "must be an image; "),
        (of_another_size, r"must have \(4, 4\) pixels, as 0000.png; got \(4, 5\)$"),
    ],
)
def test_damaged_images_are_refused_by_name_and_leave_no_cache(tmp_path, damage, message):
    write_folder(tmp_path / "train", ("cat", "dog"), 2)
    path = tmp_path / "train" / "dog" / "0001.png"
    damage(path)
    with pytest.raises(CorruptFile, match=f"^{re.escape(str(path))} {message}"):
        read_folder(tmp_path / "train", tmp_path / "out" / "cache.safetensors")
    assert not (tmp_path / "out").exists()


def test_absent_files_are_named_with_the_folder(tmp_path):
    where = re.escape(str(tmp_path))
    wanted = f"^looked for {IMAGES} or {IMAGES}.gz in {where}; there is neither$"
    with pytest.raises(DataNotFound, match=wanted):
        read_mnist(tmp_path, "train")
    write_records(tmp_path / "data_batch_1.bin", 1)
    with pytest.raises(DataNotFound, match=f"^looked for data_batch_2.bin in {where}; there is"):
        read_cifar10(tmp_path, "train")
    wanted = rf"^looked for <class>/\*.jpg or \*.png in {where}; there is none$"
    with pytest.raises(DataNotFound, match=wanted):
        read_folder(tmp_path, tmp_path / "cache.safetensors")
