"""Data for a command: a file of arrays, or what a user's module holds or makes."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igsref.cli.failures import BadInput
from igsref.cli.models import load_tensors
from igsref.cli.named import named
from igsref.conformance.call import told
from igsref.images import folder_images, idx_images, is_idx

FORMS = (
    "a .npz or .safetensors file with x and y, an IDX file of images, a folder of images by class, "
    "or PACKAGE.MODULE:NAME"
)
_ARRAYS = (".npz", ".safetensors")
_INPUTS, _LABELS = ("x", "inputs"), ("y", "labels")


def load_data(name: str) -> Any:
    """What ``igsref`` takes as data.

    name: of a ``.npz`` or ``.safetensors`` file that holds inputs as x (or inputs) and labels as y
    (or labels), or labels and keyword inputs by their names; of an IDX file of images beside one of
    labels, or a folder ``<class>/*.png``, pixels in [0, 1] then; or ``package.module:name`` of
    data, or of a function without arguments that returns them.

    Raises BadInput, DataNotFound or CorruptFile for what is absent, damaged, or of another form.
    """
    path = Path(name)
    if path.is_dir():
        return folder_images(path)
    if is_idx(path):
        return idx_images(path)
    if path.suffix in _ARRAYS or (path.exists() and ":" not in name):
        return _of_arrays(path)
    if ":" not in name:
        raise BadInput(f"data must be {FORMS}; got {name!r}")
    found = named(name)
    if not callable(found) or isinstance(found, Tensor | torch.utils.data.Dataset):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise BadInput(f"{name}() raised {told(error)}") from error


def _of_arrays(path: Path) -> Any:
    if path.suffix not in _ARRAYS:
        raise BadInput(f"data must be {FORMS}; got {path}")
    arrays = load_tensors(path) if path.suffix == ".safetensors" else _from_npz(path)
    labels = next((key for key in _LABELS if key in arrays), None)
    if labels is None or len(arrays) < 2:
        raise BadInput(f"{path} must hold inputs as x and labels as y; it holds {_keys(arrays)}")
    inputs = [key for key in arrays if key != labels]
    y = arrays[labels]
    if len(inputs) == 1 and inputs[0] in _INPUTS:
        return arrays[inputs[0]], y
    return {key: arrays[key] for key in inputs} | {"labels": y}


def _from_npz(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    try:
        # numpy leaves a damaged file open that it opened itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {key: torch.from_numpy(stored[key]) for key in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} is no whole .npz file of numbers: {error}") from error
    except TypeError as error:  # of an array of strings, say
        raise BadInput(f"{path} must hold arrays of numbers: {error}") from error


def _keys(arrays: dict[str, Tensor]) -> str:
    return ", ".join(arrays) or "nothing"
