"""Data for a command: a file of arrays, or what a user's module holds or makes."""

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from igsref.cli.failures import BadInput
from igsref.cli.named import named
from igsref.cli.options import FORMS
from igsref.cli.stored import SUFFIXES, stored_arrays
from igsref.conformance.call import told
from igsref.images import folder_images, idx_images, is_idx

_INPUTS, _LABELS = ("x", "inputs"), ("y", "labels")
_KEYS = "inputs as x (or inputs) and labels as y (or labels)"


def load_data(name: str) -> Any:
    """What ``igsref`` takes as data.

    name: of a ``.npz`` or ``.safetensors`` file that holds inputs as x (or inputs) and labels as y
    (or labels), or labels and keyword inputs by their names; of an IDX file of images beside one of
    labels, or a folder ``<class>/*.png``, pixels in [0, 1] then; or ``package.module:name`` of
    data, or of a function without arguments that returns them.

    Raises BadInput, DataNotFound or CorruptFile for what is absent, damaged, or of another form.
    """
    return _loaded(name, _with_labels)


def load_inputs(name: str) -> Any:
    """What ``igsref`` takes as fisher_data: as :func:`load_data`, but labels need not be there.

    Where they are, they are left out.
    """
    found = _loaded(name, _without_labels)
    is_pair = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Tensor)
    return found[0] if is_pair else found


def check_keywords(model: nn.Module, data: Any, name: str) -> None:
    """Raise BadInput where data has keyword inputs that the model's forward does not take."""
    if not isinstance(data, Mapping):
        return
    inputs = [key for key in data if key != "labels"]
    taken = signature(model.forward)
    try:
        taken.bind(**dict.fromkeys(inputs))
    except TypeError as error:
        raise BadInput(
            f"{name} must hold {_KEYS}, or inputs by the names of {type(model).__name__}.forward, "
            f"{', '.join(taken.parameters)}; its inputs are {', '.join(inputs)}"
        ) from error


def _loaded(name: str, of_arrays: Callable[[Path, dict[str, Tensor]], Any]) -> Any:
    path = Path(name)
    if path.is_dir():
        return folder_images(path)
    if is_idx(path):
        return idx_images(path)
    if path.suffix in SUFFIXES:
        arrays = stored_arrays(path)
        _check_scaled(path, arrays)
        return of_arrays(path, arrays)
    if ":" not in name:
        raise BadInput(f"data must be {FORMS}; got {name!r}")
    found = named(name)
    if not callable(found) or isinstance(found, Tensor | torch.utils.data.Dataset):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise BadInput(f"{name}() raised {told(error)}") from error


def _with_labels(path: Path, arrays: dict[str, Tensor]) -> Any:
    labels = _labels_of(arrays)
    if labels is None or len(arrays) < 2:
        raise BadInput(f"{path} must hold {_KEYS}; it holds {', '.join(arrays) or 'nothing'}")
    inputs = _without_labels(path, arrays)
    if isinstance(inputs, Tensor):
        return inputs, arrays[labels]
    return inputs | {"labels": arrays[labels]}


def _without_labels(_path: Path, arrays: dict[str, Tensor]) -> Any:
    """The inputs by their names, or the one that has no name of its own."""
    labels = _labels_of(arrays)
    inputs = {key: value for key, value in arrays.items() if key != labels}
    alone = len(inputs) == 1 and next(iter(inputs)) in _INPUTS
    return next(iter(inputs.values())) if alone else inputs


def _labels_of(arrays: dict[str, Tensor]) -> str | None:
    return next((key for key in _LABELS if key in arrays), None)


def _check_scaled(path: Path, arrays: dict[str, Tensor]) -> None:
    """Refuse bytes: of an image they are unscaled, and how it was trained is not said."""
    labels = _labels_of(arrays)
    for key, value in arrays.items():
        if key != labels and value.dtype == torch.uint8:
            raise BadInput(
                f"{key} in {path} must be scaled as in the training of the model, and of a "
                f"floating-point dtype; it is uint8, pixels as a rule: store {key} / 255.0, say"
            )
