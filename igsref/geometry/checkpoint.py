"""Where a long run is: one safetensors file, written whole under another name and then renamed.

Its header holds, as JSON, a fingerprint of the problem and the settings that its numbers depend on:
a run goes on only from its own checkpoint. Nothing is unpickled.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from igsref.files import replacing
from igsref.geometry.krylov import KrylovState, Step
from igsref.linalg.krylov import KrylovSpace
from igsref.problem import Problem

_HEADER = "igsref checkpoint"
_SHARE = 10.0
"""Between two writings passes at least ten times what one takes."""


class CheckpointError(ValueError):
    """A checkpoint is damaged, or belongs to another problem or other settings."""


def problem_fingerprint(problem: Problem) -> dict[str, str]:
    """What a run's numbers depend on: θ and constants, inputs, labels, bit for bit; the layers."""
    function = problem.function
    buffers = {} if function.module is None else dict(function.module.named_buffers())
    layers = "a function" if function.module is None else str(function.module)
    return {
        "layers": hashlib.sha256(layers.encode()).hexdigest(),
        "parameters": _digest(function.parameters.items()),
        "constants": _digest({**buffers, **function.constants}.items()),
        "inputs": _digest(problem.samples.named_inputs().items()),
        "labels": _digest([("targets", problem.targets), ("members", problem.members)]),
        "likelihood": problem.likelihood.name,
    }


def _digest(named: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, value in named:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(
            value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def kept_setting(path: Path, name: str) -> str | None:
    """A setting that a checkpoint was made with; None where there is none, or no whole file."""
    try:
        with safe_open(path, framework="pt") as file:
            found = json.loads((file.metadata() or {})[_HEADER])["settings"].get(name)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


@dataclass
class Checkpoint:
    """A file that a Krylov run is kept in.

    path: of the file. fingerprint, settings: what the run is of; both must agree for going on.
    """

    path: Path
    fingerprint: Mapping[str, str]
    settings: Mapping[str, Any]
    _again: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if self.path.is_dir() or not self.path.absolute().parent.is_dir():
            raise CheckpointError(f"checkpoint must name a file in a folder; got {self.path}")

    def save(self, state: KrylovState) -> None:
        """Write the state, unless writing would take more than a tenth of the time."""
        began = time.monotonic()
        if began < self._again:
            return
        header = {
            "problem": dict(self.fingerprint),
            "settings": dict(self.settings),
            "weighted": state.weighted,
            "steps": [asdict(step) for step in state.steps],
        }
        space = state.space
        tensors = {"basis": space.basis, "images": space.images, "frontier": space.frontier}
        header["tensors"] = _digest(tensors.items())
        with replacing(self.path) as temporary:
            save_file(
                {name: value.cpu().contiguous() for name, value in tensors.items()},
                temporary,
                {_HEADER: json.dumps(header)},
            )
        now = time.monotonic()
        self._again = now + _SHARE * (now - began)

    def load(self, device: torch.device) -> KrylovState | None:
        """The state that was saved last; None where there is no file.

        Raises CheckpointError for a file that is no checkpoint, is cut off or damaged, or belongs
        to another problem or other settings: it says which.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt", device=str(device)) as file:
                header = json.loads((file.metadata() or {})[_HEADER])
                tensors = {name: file.get_tensor(name) for name in ("basis", "images", "frontier")}
            if header["tensors"] != _digest(tensors.items()):
                raise ValueError("its numbers are not those that were written")
            steps = tuple(Step(**step) for step in header["steps"])
            found = {**header["problem"], **header["settings"]}
            state = KrylovState(KrylovSpace(**tensors), bool(header["weighted"]), steps)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.path} is no whole checkpoint ({type(error).__name__}: {error}); "
                "give another name, or delete it to begin anew"
            ) from error
        self._check(found)
        return state

    def _check(self, found: Mapping[str, Any]) -> None:
        expected = {**self.fingerprint, **self.settings}
        differ = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
        if differ:
            shown = "; ".join(
                f"{name}: {str(found.get(name))[:12]} there, {str(expected.get(name))[:12]} here"
                for name in differ
            )
            raise CheckpointError(f"{self.path} is the checkpoint of another run: {shown}")
