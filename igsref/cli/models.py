"""A model for a command: a module, or a function that makes one, and a file of its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from igsref.arguments import described
from igsref.cli.failures import BadInput
from igsref.cli.named import named
from igsref.conformance.call import told

_SHOWN = 3


def load_model(name: str, weights: Path | None) -> nn.Module:
    """What ``package.module:name`` names or makes, in evaluation mode, with weights from a file.

    name: of an ``nn.Module``, or of a function without arguments that returns one.
    weights: ``.safetensors``, or a state_dict that ``torch.save`` wrote; it is read with
    ``weights_only=True``, so that nothing in it is run.

    Raises BadInput for what is no module, and for weights that are absent, damaged, or of other
    names or shapes than the module's.
    """
    found = named(name)
    if not isinstance(found, nn.Module) or isinstance(found, type):
        found = _made(name, found)
    if weights is not None:
        _load_weights(found, load_tensors(weights), weights)
    return found.eval()


def _made(name: str, factory: Any) -> nn.Module:
    if not callable(factory):
        raise BadInput(
            f"{name} must be a torch.nn.Module or a function that returns one; got "
            f"{described(factory)}"
        )
    try:
        model = factory()
    except (Exception, SystemExit) as error:
        raise BadInput(f"{name}() raised {told(error)}") from error
    if not isinstance(model, nn.Module):
        raise BadInput(f"{name}() must return a torch.nn.Module; got {described(model)}")
    return model


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name. Raises BadInput for an absent or damaged file, or one of another kind."""
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} is no whole file of tensors: {error}") from error
    except Exception as error:  # torch.load raises many kinds for files of another one
        raise BadInput(
            f"{path} must be .safetensors, or a state_dict that torch.save wrote and "
            f"weights_only=True can read: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise BadInput(f"{path} must hold a state_dict, tensors by name; got {described(found)}")
    return dict(found)


def _load_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    missing = [name for name in own if name not in tensors]
    strange = [name for name in tensors if name not in own]
    other = [
        f"{name} {tuple(tensors[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    parts = {"lack": missing, "have besides": strange, "have another shape of": other}
    told_of = [f"{what} {_some(names)}" for what, names in parts.items() if names]
    if told_of:
        raise BadInput(
            f"weights in {path} do not fit {type(model).__name__}: they " + "; they ".join(told_of)
        )
    if any(_would_round(tensors[name], value) for name, value in own.items()):
        # Rounded weights are another network's; measurements are in float64 all the same.
        model.double()
    model.load_state_dict(tensors)


def _would_round(stored: Tensor, own: Tensor) -> bool:
    """Whether a tensor loses digits where it is copied into another."""
    floating = stored.is_floating_point() and own.is_floating_point()
    return floating and torch.promote_types(stored.dtype, own.dtype) != own.dtype


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
