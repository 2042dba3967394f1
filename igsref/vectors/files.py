"""Reference vectors as files: NAME.safetensors for the tensors, NAME.json for all else.

Nothing is unpickled. docs/vectors.md describes the format.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from igsref.arguments import described
from igsref.exact.decimals import Decimals
from igsref.likelihoods import LIKELIHOODS
from igsref.progress import interruptible
from igsref.vectors.description import build, describe, named
from igsref.vectors.expected import renewed
from igsref.vectors.fields import Fields, VectorError
from igsref.vectors.vector import Expected, Vector

FORMAT = "igsref vector"
VERSION = 1
PACKAGE_DATA = Path(__file__).with_name("data")
"""The vectors that come with the package."""
_DATA = ("inputs", "labels")
# Exponents are limited, since the ends are read as fractions.
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,5})?")


def load(directory: Path | str | None = None) -> tuple[Vector, ...]:
    """All vectors of a directory, by name; those that come with the package unless one is given.

    Raises VectorError, with file and field, for what is not of the format; FileNotFoundError for
    no directory.
    """
    folder = PACKAGE_DATA if directory is None else Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(f"directory must hold vectors; there is none at {folder}")
    names = {path.stem for path in folder.iterdir() if path.suffix in (".json", ".safetensors")}
    if not names:
        raise VectorError(f"{folder} must hold NAME.json and NAME.safetensors; got neither")
    return tuple(load_vector(folder, name) for name in sorted(names))


def load_vector(folder: Path, name: str) -> Vector:
    """One vector. Raises VectorError as :func:`load`."""
    for suffix in (".json", ".safetensors"):
        if not (folder / f"{name}{suffix}").is_file():
            raise VectorError(f"{folder} must hold {name}{suffix}, the other half of {name}")
    description = _json(folder / f"{name}.json")
    tensors = _tensors(folder / f"{name}.safetensors")
    inputs, labels = (tensors.pop(key) for key in _DATA)
    layers = description.objects("layers")
    model = build(layers, tensors)
    where = f"{name}.safetensors"
    if unused := sorted(set(tensors) - named(layers)):
        raise VectorError(f"{where} must hold tensors that a layer names; got {unused[0]!r} too")
    likelihood = description.text("likelihood")
    if likelihood not in LIKELIHOODS:
        raise description.refuse("likelihood", f"one of {sorted(LIKELIHOODS)}")
    tags = description.entries("tags")
    if not all(isinstance(tag, str) for tag in tags):
        raise description.refuse("tags", "a list of strings")
    labels = _checked_labels(where, model, inputs, labels, likelihood)
    expected = _expected(description.object("expected"), len(inputs))
    return Vector(name, tuple(tags), model, inputs, labels, likelihood, expected)


def save(directory: Path, vector: Vector) -> None:
    """Write the two files of a vector; the same bytes for the same vector."""
    layers, tensors = describe(vector.model)
    tensors |= {"inputs": vector.inputs, "labels": vector.labels.double()}
    description = {
        "format": FORMAT,
        "version": VERSION,
        "tags": list(vector.tags),
        "likelihood": vector.likelihood,
        "layers": layers,
        "expected": _written(vector.expected),
    }
    stored = save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()})
    (directory / f"{vector.name}.safetensors").write_bytes(stored)
    text = json.dumps(description, indent=1, ensure_ascii=False, allow_nan=False)
    (directory / f"{vector.name}.json").write_bytes(f"{text}\n".encode())


def write(directory: Path | str, source: Path | str | None = None) -> tuple[Vector, ...]:
    """Compute the expected values of stored networks anew, and write all files; minutes.

    source: where the networks are stored; the package's own unless given. The directory is made
    if need be. From the package's networks come the package's files, bit for bit.
    Raises VectorError as :func:`load`, OSError where the directory cannot be made.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)  # before anything takes minutes
    vectors = load(source)
    written = []
    so_far = f"those that are done are in {folder}"
    with interruptible("vectors", len(vectors), so_far) as shown:
        for vector in shown(vectors):
            written.append(renewed(vector))
            save(folder, written[-1])
    return tuple(written)


def _json(path: Path) -> Fields:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # nested without end
        raise VectorError(f"{path.name} must be JSON in UTF-8; {error}") from error
    fields = Fields.of(path.name, value)
    fields.only("format", "version", "tags", "likelihood", "layers", "expected")
    if fields.text("format") != FORMAT:
        raise fields.refuse("format", repr(FORMAT))
    if fields.integer("version") != VERSION:
        raise fields.refuse("version", f"{VERSION}, the only one that is known here")
    return fields


def _tensors(path: Path) -> dict[str, Tensor]:
    """All tensors by name, checked one by one."""
    try:
        tensors = load_tensors(path.read_bytes())
    except SafetensorError as error:
        raise VectorError(f"{path.name} must be a safetensors file; {error}") from error
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float64:
            raise VectorError(f"{path.name}: {name} must be of F64; got {tensor.dtype}")
        if not bool(tensor.isfinite().all()):
            raise VectorError(f"{path.name}: {name} must be finite; got an inf or a NaN")
    if missing := [key for key in _DATA if key not in tensors]:
        raise VectorError(f"{path.name} must hold the tensor {missing[0]!r}; got {sorted(tensors)}")
    return tensors


def _checked_labels(
    where: str, model: nn.Sequential, inputs: Tensor, labels: Tensor, likelihood: str
) -> Tensor:
    """The labels as the likelihood takes them."""
    try:
        with torch.no_grad():
            logits = model(inputs)
    except (RuntimeError, ValueError) as error:
        raise VectorError(f"{where}: inputs must fit the layers; {error}") from error
    if likelihood != "categorical":
        if labels.shape != logits.shape:
            raise VectorError(
                f"{where}: labels must have the logits' shape {tuple(logits.shape)} for the "
                f"likelihood {likelihood!r}; got {tuple(labels.shape)}"
            )
        return labels
    classes = labels.long()
    if labels.shape != logits.shape[:1] or not torch.equal(classes.double(), labels):
        raise VectorError(
            f"{where}: labels must be {len(logits)} class numbers, whole ones; "
            f"got {described(labels)}"
        )
    if bool(((classes < 0) | (classes >= logits.shape[1])).any()):
        raise VectorError(
            f"{where}: labels must be from 0 to {logits.shape[1] - 1}; "
            f"got {int(classes.min())} to {int(classes.max())}"
        )
    return classes


def _written(expected: Expected) -> dict[str, Any]:
    return {
        "igs": _pair(expected.igs),
        "ceiling": _pair(expected.ceiling),
        "rank": expected.rank,
        "full_batch": _pair(expected.full_batch),
        "minibatch": {str(b): _pair(value) for b, value in expected.minibatch.items()},
        "per_sample": [_pair(value) for value in expected.per_sample],
        "eigenvalues": [_pair(value) for value in expected.eigenvalues],
    }


def _pair(value: Decimals) -> list[str]:
    return [value.lower, value.upper]


def _expected(fields: Fields, num_samples: int) -> Expected:
    fields.only(*Expected.__annotations__)
    rank = None if fields.values["rank"] is None else fields.integer("rank")
    minibatch = fields.object("minibatch")
    sizes = [str(b) for b in range(1, num_samples + 1)]
    if unknown := [b for b in minibatch.values if b not in sizes]:
        raise VectorError(
            f"{minibatch.where} must have batch sizes from 1 to {num_samples}; got {unknown[0]!r}"
        )
    full_batch, igs, ceiling = (
        _decimals(fields, name) for name in ("full_batch", "igs", "ceiling")
    )
    for less, name, more in ((full_batch, "igs", igs), (igs, "ceiling", ceiling)):
        if less.fractions[1] < 0 or less.fractions[0] > more.fractions[1]:
            raise fields.refuse(name, "in the order 0 ≤ full_batch ≤ igs ≤ ceiling")
    return Expected(
        igs=igs,
        ceiling=ceiling,
        rank=rank,
        full_batch=full_batch,
        minibatch={int(b): _decimals(minibatch, b) for b in minibatch.values},
        per_sample=_many(fields, "per_sample", num_samples),
        eigenvalues=_many(fields, "eigenvalues", rank or 0),
    )


def _many(fields: Fields, name: str, count: int) -> tuple[Decimals, ...]:
    values = fields.entries(name)
    if len(values) != count:
        raise VectorError(f"{fields.where}: {name} must have {count} entries; got {len(values)}")
    each = Fields(f"{fields.where}: {name}", {str(i): value for i, value in enumerate(values)})
    return tuple(_decimals(each, index) for index in each.values)


def _decimals(fields: Fields, name: str) -> Decimals:
    ends = fields.values[name]
    wanted = "[lower, upper], two decimal strings in this order"
    if not isinstance(ends, list) or [type(end) for end in ends] != [str, str]:
        raise fields.refuse(name, wanted)
    if not all(_DECIMAL.fullmatch(end) for end in ends):
        raise VectorError(f"{fields.where}: {name} must be {wanted}; got {ends}")
    try:
        return Decimals(*ends)
    except ValueError as error:
        raise VectorError(f"{fields.where}: {name} must be {wanted}; {error}") from error
