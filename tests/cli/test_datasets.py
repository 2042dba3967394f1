"""Data from files and modules in the forms that igsref takes; whatever is not so is named."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset

from igsref.cli.datasets import check_keywords, load_data, load_inputs
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
    assert load_inputs(str(path)).equal(X)


def test_other_arrays_are_keyword_inputs(folder):
    np.savez(folder / "data.npz", shift=X.numpy(), scale=2 * X.numpy(), labels=Y.numpy())
    found = load_data("data.npz")
    assert sorted(found) == ["labels", "scale", "shift"]
    assert found["scale"].equal(2 * X)
    assert sorted(load_inputs("data.npz")) == ["scale", "shift"]


def test_inputs_need_no_labels(folder):
    nets = __import__("nets")
    np.savez(folder / "x.npz", x=X.numpy())
    np.savez(folder / "keywords.npz", shift=X.numpy(), scale=2 * X.numpy())
    assert load_inputs("x.npz").equal(X)
    assert sorted(load_inputs("keywords.npz")) == ["scale", "shift"]
    nets.alone = X
    assert load_inputs("nets:alone") is X
    assert load_inputs("nets:data").equal(nets.pair[0])


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
    assert load_inputs("t-images-idx3-ubyte").equal(x)
    x, y = load_data("own")
    assert x.equal(torch.full((1, 3, 2, 2), 0.2))
    assert y.tolist() == [0]
    with pytest.raises(OSError, match="looked for <class>"):
        load_data("own/cat")


@pytest.mark.parametrize("key", ["x", "scale"])
@pytest.mark.parametrize("load", [load_data, load_inputs])
def test_bytes_are_refused_with_what_is_needed(folder, key, load):
    pixels = np.arange(6, dtype=np.uint8).reshape(3, 2)
    np.savez(folder / "data.npz", **{key: pixels}, y=Y.numpy().astype(np.uint8))
    message = rf"^{key} in data\.npz must be scaled .*; it is uint8, .* store {key} / 255\.0, say$"
    with pytest.raises(BadInput, match=message):
        load("data.npz")
    np.savez(folder / "data.npz", **{key: pixels / 255.0}, y=Y.numpy().astype(np.uint8))
    assert load("data.npz") is not None


def test_keywords_are_those_of_the_model(folder):
    named = __import__("nets").Named()
    both = {"shift": X, "scale": X, "labels": Y}
    check_keywords(named, both, "data.npz")
    check_keywords(nn.Linear(2, 3), (X, Y), "data.npz")
    check_keywords(nn.Linear(2, 3), {"input": X, "labels": Y}, "data.npz")
    for wrong in ({"shift": X, "labels": Y}, both | {"images": X}):
        inputs = ", ".join(key for key in wrong if key != "labels")
        message = rf"^data\.npz must hold .* of Named\.forward, shift, scale; .* are {inputs}$"
        with pytest.raises(BadInput, match=message):
            check_keywords(named, wrong, "data.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.npz", r"there is no file absent\.npz"),
        ("alone.npz", r"must hold inputs as x \(or inputs\) and labels as y \(or labels\); .* x$"),
        ("other.npz", r"other\.npz must hold inputs as x .*; it holds images, targets$"),
        ("text.npz", r"text\.npz must be a whole \.npz file"),
        ("nets.py", r"data must be a \.npz or \.safetensors file .*; got 'nets\.py'"),
        ("nothing", "data must be a .npz .* got 'nothing'"),
        ("nets:broken", r"nets:broken\(\) raised RuntimeError: no such thing"),
        ("nets:absent", "it has no 'absent'"),
    ],
)
def test_what_is_no_data_is_named(folder, name, message):
    np.savez(folder / "alone.npz", x=X.numpy())
    np.savez(folder / "other.npz", images=X.numpy(), targets=Y.numpy())
    (folder / "text.npz").write_text("x, y\n")
    with pytest.raises(BadInput, match=message):
        load_data(name)
