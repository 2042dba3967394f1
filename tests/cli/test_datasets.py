"""Data from files and modules in the forms that igsref takes; whatever is not so is named."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.utils.data import TensorDataset

from igsref.cli.datasets import load_data
from igsref.cli.failures import BadInput

X, Y = torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 1])


@pytest.mark.parametrize("names", [("x", "y"), ("inputs", "labels"), ("x", "labels")])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_arrays_of_a_file_are_a_pair(folder, suffix, names):
    stored = dict(zip(names, (X, Y), strict=True))
    path = folder / f"data{suffix}"
    if suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in stored.items()})
    else:
        save_file(stored, path)
    x, y = load_data(str(path))
    assert x.equal(X)
    assert y.equal(Y)


def test_other_arrays_are_keyword_inputs(folder):
    np.savez(folder / "data.npz", shift=X.numpy(), scale=2 * X.numpy(), labels=Y.numpy())
    found = load_data("data.npz")
    assert sorted(found) == ["labels", "scale", "shift"]
    assert found["scale"].equal(2 * X)


def test_a_module_s_data_and_what_its_functions_make(folder, monkeypatch):
    nets = __import__("nets")
    assert load_data("nets:pair") is nets.pair
    assert load_data("nets:data")[1].equal(nets.pair[1])
    nets.dataset = TensorDataset(X, Y)
    assert load_data("nets:dataset") is nets.dataset


def test_idx_files_and_folders_are_images(folder):
    image = np.full((2, 2), 51, dtype=np.uint8)
    sizes = b"".join(size.to_bytes(4, "big") for size in (1, 2, 2))
    (folder / "t-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03" + sizes + image.tobytes())
    (folder / "t-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x01\x07")
    (folder / "own" / "cat").mkdir(parents=True)
    Image.fromarray(image).save(folder / "own" / "cat" / "0.png")
    x, y = load_data("t-images-idx3-ubyte")
    assert x.equal(torch.full((1, 1, 2, 2), 0.2))
    assert y.tolist() == [7]
    x, y = load_data("own")
    assert x.equal(torch.full((1, 3, 2, 2), 0.2))
    assert y.tolist() == [0]
    with pytest.raises(OSError, match="looked for <class>"):
        load_data("own/cat")


def damaged(folder):
    np.savez(folder / "alone.npz", x=X.numpy())
    np.savez(folder / "words.npz", x=np.array(["a"]), y=Y.numpy())
    np.savez(folder / "objects.npz", x=np.array([None]), y=Y.numpy())
    np.savez(folder / "whole.npz", x=X.numpy(), y=Y.numpy())
    (folder / "short.npz").write_bytes((folder / "whole.npz").read_bytes()[:100])
    (folder / "text.npz").write_text("x, y\n")
    (folder / "empty.npz").write_text("")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.npz", r"there is no file absent\.npz"),
        ("absent.safetensors", r"there is no file absent\.safetensors"),
        ("alone.npz", r"must hold inputs as x and labels as y; it holds x$"),
        ("words.npz", "must hold arrays of numbers"),
        ("objects.npz", "is no whole .npz file of numbers"),
        ("short.npz", "is no whole .npz file of numbers"),
        ("text.npz", "is no whole .npz file of numbers"),
        ("empty.npz", "is no whole .npz file of numbers"),
        ("nets.py", r"data must be a \.npz or \.safetensors file .*; got nets\.py"),
        ("nothing", "data must be a .npz .* got 'nothing'"),
        ("nets:broken", r"nets:broken\(\) raised RuntimeError: no such thing"),
        ("nets:absent", "it has no 'absent'"),
    ],
)
def test_what_is_no_data_is_named(folder, name, message):
    damaged(folder)
    with pytest.raises(BadInput, match=message):
        load_data(name)
