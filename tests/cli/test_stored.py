"""Arrays of files are tensors by name; a file of another kind is named, with what was expected."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from igsref.cli.failures import BadInput
from igsref.cli.stored import check_file, stored_arrays

X, Y = torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 1])


def test_arrays_come_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", x=X.numpy(), y=Y.numpy())
    save_file({"x": X, "y": Y}, tmp_path / "a.safetensors")
    for name in ("a.npz", "a.safetensors"):
        found = stored_arrays(tmp_path / name)
        assert sorted(found) == ["x", "y"]
        assert found["x"].equal(X)
        assert found["y"].equal(Y)


def test_bytes_may_come_in_the_order_of_another_machine(tmp_path):
    for order in "<>":
        np.savez(tmp_path / "a.npz", x=X.numpy().astype(f"{order}f4"))
        assert stored_arrays(tmp_path / "a.npz")["x"].equal(X)


def write_other_kinds(folder):
    np.savez(folder / "words.npz", x=np.array(["a"]), y=Y.numpy())
    np.savez(folder / "objects.npz", x=np.array([None]), y=Y.numpy())
    np.savez(folder / "whole.npz", x=X.numpy(), y=Y.numpy())
    save_file({"x": X}, folder / "whole.safetensors")
    for suffix in ("npz", "safetensors"):
        content = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"short.{suffix}").write_bytes(content[: len(content) // 2])
        (folder / f"text.{suffix}").write_text("x, y\n")
        (folder / f"empty.{suffix}").write_text("")
        (folder / f"folder.{suffix}").mkdir()
    with (folder / "single.npz").open("wb") as file:
        np.save(file, X.numpy())


NPZ = (
    r"must be a whole \.npz file of arrays of numbers, as numpy\.savez writes it; it is damaged, "
    "or of another kind$"
)
SAFETENSORS = (
    r"must be a whole \.safetensors file, as safetensors\.torch\.save_file writes it; it is "
    "damaged, or of another kind$"
)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.npz", r"^there is no file .*absent\.npz$"),
        ("folder.npz", r"folder\.npz must be a file; it is a folder$"),
        ("words.npz", r"words\.npz must hold arrays of numbers; x has dtype <U1$"),
        *((name, rf"{name} {NPZ}") for name in ("objects.npz", "text.npz", "single.npz")),
        *((name, rf"{name} {NPZ}") for name in ("short.npz", "empty.npz")),
        *(
            (f"{name}.safetensors", rf"{name}\.safetensors {SAFETENSORS}")
            for name in ("short", "text", "empty")
        ),
    ],
)
def test_a_file_of_another_kind_is_one_sentence(tmp_path, name, message):
    write_other_kinds(tmp_path)
    with pytest.raises(BadInput, match=message):
        stored_arrays(tmp_path / name)


def test_a_file_that_is_there_is_no_error(tmp_path):
    (tmp_path / "a").write_text("")
    check_file(tmp_path / "a")
    with pytest.raises(BadInput, match="it is a folder"):
        check_file(tmp_path)
