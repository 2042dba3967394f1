"""A model for a command: a module, or a function that makes one, and a file of its weights."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from igsref.arguments import described
from igsref.cli.failures import BadInput
from igsref.cli.named import named
from igsref.cli.stored import check_file, stored_arrays
from igsref.conformance.call import told

Remark = Callable[[str], None]
"""Takes a sentence for the user."""

_SHOWN = 3


def load_model(name: str, weights: Path | None, remark: Remark) -> nn.Module:
    """What ``package.module:name`` names or makes, in evaluation mode, with weights from a file.

    name: of an ``nn.Module``, or of a function without arguments that returns one.
    weights: ``.safetensors``, or a state_dict that ``torch.save`` wrote, on its own or as the only
    one in a checkpoint; it is read with ``weights_only=True``, so that nothing in it is run.
    remark: is told where weights are those of the function, and what was taken of a file.

    Raises BadInput for what is no module, and for weights that are absent, damaged, or of other
    names or shapes than the module's.
    """
    found = named(name)
    made = not isinstance(found, nn.Module)
    if made:
        found = _made(name, found)
    if weights is not None:
        _load_weights(found, load_weights(weights, remark), weights, remark)
    elif made and next(found.parameters(), None) is not None:
        remark(
            f"no --weights are given: they are as {name}() makes them, random unless it loads "
            "its own"
        )
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


def load_weights(path: Path, remark: Remark) -> dict[str, Tensor]:
    """Tensors by name. Raises BadInput for an absent or damaged file, or one of another kind."""
    if path.suffix == ".safetensors":
        return stored_arrays(path)
    found = _unpickled(path)
    if _is_state_dict(found):
        return dict(found)
    entries = found if isinstance(found, Mapping) else {}
    inside = [key for key, value in entries.items() if value and _is_state_dict(value)]
    if len(inside) == 1:
        remark(f"{path} is a checkpoint, whose entry {inside[0]!r} is taken as the weights")
        return dict(entries[inside[0]])
    if inside:
        raise BadInput(
            f"{path} must hold one state_dict; its entries {_some([*map(repr, inside)])} are some. "
            f"Store the one that is meant: torch.save(torch.load({str(path)!r})[{inside[0]!r}], …)"
        )
    keys = f" with {_some([*map(repr, entries)])}" if entries else ""
    raise BadInput(
        f"{path} must hold a state_dict, tensors by name, as torch.save(model.state_dict(), …) "
        f"writes it; got {described(found)}{keys}"
    )


def _unpickled(path: Path) -> Any:
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles by others than torch, refused all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for files of another one
        raise BadInput(
            f"{path} must be .safetensors, or a state_dict as torch.save(model.state_dict(), …) "
            f"writes it; {_instead(path)}"
        ) from error


def _instead(path: Path) -> str:
    """What a file is that torch does not load, without running anything in it."""
    try:
        kinds = get_unsafe_globals_in_checkpoint(path)
    except Exception:  # for files of another kind, as many
        kinds = []
    if kinds:
        return f"it holds objects of {_some(kinds)}, which are not loaded: they might run code"
    return "it is damaged, or of another kind"


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(v, Tensor) for v in value.values())


def _load_weights(
    model: nn.Module, stored: Mapping[str, Tensor], path: Path, remark: Remark
) -> None:
    own = model.state_dict()
    wrapper, tensors = _unwrapped(stored, own)
    if wrapper:
        remark(f"all names in {path} begin with {wrapper!r}, which is left off")
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


def _unwrapped(
    stored: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[str, Mapping[str, Tensor]]:
    """What DataParallel (module.), torch.compile (_orig_mod.) or a user's class put before names.

    And the tensors without it; nothing unless no name fits with it, and some do without.
    """
    wrapper, tensors = "", dict(stored)
    while tensors and not own.keys() & tensors.keys():
        first, dot, _ = next(iter(tensors)).partition(".")
        prefix = first + dot
        if not dot or not all(name.startswith(prefix) for name in tensors):
            return "", stored
        wrapper += prefix
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return wrapper, tensors


def _would_round(stored: Tensor, own: Tensor) -> bool:
    """Whether a tensor loses digits where it is copied into another."""
    floating = stored.is_floating_point() and own.is_floating_point()
    return floating and torch.promote_types(stored.dtype, own.dtype) != own.dtype


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
