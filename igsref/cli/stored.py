"""Arrays by name, as files hold them: .npz and .safetensors."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from igsref.cli.failures import BadInput

SUFFIXES = (".npz", ".safetensors")
_NUMBERS = "biufc"


def check_file(path: Path) -> None:
    """Raise BadInput unless there is a file."""
    if path.is_dir():
        raise BadInput(f"{path} must be a file; it is a folder")
    if not path.is_file():
        raise BadInput(f"there is no file {path}")


def stored_arrays(path: Path) -> dict[str, Tensor]:
    """Tensors by name, of a file with one of the suffixes.

    Raises BadInput for an absent or damaged file, and for one of another kind than its suffix says.
    """
    check_file(path)
    return _from_safetensors(path) if path.suffix == ".safetensors" else _from_npz(path)


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(
            f"{path} must be a whole .safetensors file, as safetensors.torch.save_file writes it; "
            "it is damaged, or of another kind"
        ) from error


def _from_npz(path: Path) -> dict[str, Tensor]:
    try:
        # numpy leaves a damaged file open that it opened itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    # A file of one array, .npy, is no context.
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(
            f"{path} must be a whole .npz file of arrays of numbers, as numpy.savez writes it; it "
            "is damaged, or of another kind"
        ) from error
    return {key: _as_tensor(path, key, array) for key, array in arrays.items()}


def _as_tensor(path: Path, key: str, array: np.ndarray) -> Tensor:
    """In the machine's own order of bytes, the only one that torch has."""
    if array.dtype.kind not in _NUMBERS:
        raise BadInput(f"{path} must hold arrays of numbers; {key} has dtype {array.dtype}")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
