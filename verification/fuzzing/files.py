"""Files of a reference vector with something done to them, as recipes that can be repeated."""

import json
import pickle
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

import igsref
from igsref import vectors
from igsref.vectors.files import PACKAGE_DATA
from verification.fuzzing.changes import INFINITY, NAN, Inapplicable
from verification.fuzzing.verdict import Outcome, outcome

NAMES = "json safetensors directory"
"""One of these must be among the words of a refusal."""
unpickled: list[int] = []
"""Grows when somebody unpickles what lies in the files."""

FileChange = Callable[[dict[str, bytes], random.Random], None]
"""Of file name → contents, in place."""


def note_unpickling() -> None:
    """What the planted pickles call."""
    unpickled.append(1)


class Planted:
    """What is unpickled here, is known."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return note_unpickling, ()


@dataclass(frozen=True)
class FileRecipe:
    """A vector of the package, and changes to its two files in the order in which they came."""

    vector: str
    seed: int
    changes: tuple[str, ...] = ()

    def files(self) -> dict[str, bytes]:
        """The contents by name. Raises Inapplicable where there is nothing left to change."""
        paths = [PACKAGE_DATA / f"{self.vector}{suffix}" for suffix in (".json", ".safetensors")]
        contents = {path.name: path.read_bytes() for path in paths}
        for name in self.changes:
            draw = random.Random(f"{self.seed} {name}")
            try:
                FILE_CHANGES[name](contents, draw)
            except Exception as error:
                raise Inapplicable(f"{name}: {type(error).__name__}: {error}") from error
        return contents

    def without(self, index: int) -> "FileRecipe":
        """One change less."""
        changes = (*self.changes[:index], *self.changes[index + 1 :])
        return FileRecipe(self.vector, self.seed, changes)

    def write(self, directory: Path) -> None:
        """Put the files there. Raises Inapplicable for a name that no file can have."""
        for name, contents in self.files().items():
            try:
                (directory / name).write_bytes(contents)
            except (OSError, ValueError) as error:
                raise Inapplicable(f"no file {name!r}: {error}") from error


def read(recipe: FileRecipe) -> dict[str, Outcome]:
    """What the reader does with the files, and exact_igs with a network that it takes."""
    unpickled.clear()
    with tempfile.TemporaryDirectory() as directory:
        try:
            recipe.write(Path(directory))
        except Inapplicable:
            return {}
        found = {"load": outcome(lambda: vectors.load(directory), _oddities, NAMES)}
    if unpickled:
        found["load"] = Outcome("unpickled", ("something was unpickled",))
    for vector in found["load"].value or ():
        found["exact_igs of a file"] = _measured(vector)
    return found


def _measured(vector: vectors.Vector) -> Outcome:
    data = (vector.inputs, vector.labels)
    return outcome(
        lambda: igsref.exact_igs(vector.model, data, likelihood=vector.likelihood),
        lambda result: iter(()),
    )


def _oddities(found: tuple[vectors.Vector, ...]) -> Iterator[str]:
    """What a vector that was taken must not be."""
    for vector in found:
        if not (vector.name and vector.name == Path(vector.name).name):
            yield f"the name {vector.name!r} is a path"
        if not isinstance(vector.model, nn.Sequential) or vector.model.training:
            yield "the model is no sequential network in evaluation mode"
        tensors = [vector.inputs, *vector.model.parameters()]
        if not all(value.dtype == torch.float64 and value.isfinite().all() for value in tensors):
            yield "a tensor is not of float64, or not finite"
        if not len(vector.inputs) == len(vector.labels) == len(vector.expected.per_sample) > 0:
            yield "inputs, labels and per_sample are not as many as each other, and at least one"
        yield from _oddities_of_expected(vector.expected)


def _oddities_of_expected(expected: vectors.Expected) -> Iterator[str]:
    low, high = expected.igs.fractions
    if not (high >= 0 and low <= expected.ceiling.fractions[1]):
        yield f"0 ≤ IGS ≤ ceiling is not true of {expected.igs}, {expected.ceiling}"
    if expected.full_batch.fractions[0] > high:
        yield f"G ≤ IGS is not true of {expected.full_batch}, {expected.igs}"
    if expected.rank is not None and expected.rank < 0:
        yield f"the rank is {expected.rank}"


# Bytes.


def _some(contents: dict[str, bytes], draw: random.Random) -> str:
    return draw.choice(sorted(contents))


def bytewise(suffix: str | None, function: Callable[[bytes, random.Random], bytes]) -> FileChange:
    """The bytes of one file changed; of either, if no suffix is given."""

    def change(contents: dict[str, bytes], draw: random.Random) -> None:
        name = next((n for n in contents if suffix and n.endswith(suffix)), None)
        name = name or _some(contents, draw)
        contents[name] = function(contents[name], draw)

    return change


def _flipped(data: bytes, draw: random.Random, within: int | None = None) -> bytes:
    at = draw.randrange(min(len(data), within or len(data)))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def _inserted(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + draw.randbytes(draw.randint(1, 9)) + data[at:]


def _zip() -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Planted()))
    return stream.getvalue()


def _torch_saved() -> bytes:
    stream = BytesIO()
    torch.save({"inputs": Planted()}, stream)
    return stream.getvalue()


def _headed(header: bytes, body: bytes = b"") -> bytes:
    """A safetensors file with this header."""
    return struct.pack("<Q", len(header)) + header + body


def _without_one(contents: dict[str, bytes], draw: random.Random) -> None:
    del contents[_some(contents, draw)]


def _renamed(new: str) -> FileChange:
    """The vector under another name."""

    def change(contents: dict[str, bytes], draw: random.Random) -> None:
        for name in list(contents):
            contents[new + name[name.rindex(".") :]] = contents.pop(name)

    return change


# Headers and tensors.


def header(function: Callable[[dict[str, Any], str], Any]) -> FileChange:
    """The entry of one tensor in a safetensors header changed."""

    def change(data: bytes, draw: random.Random) -> bytes:
        size = struct.unpack("<Q", data[:8])[0]
        entries = json.loads(data[8 : 8 + size])
        function(entries, draw.choice(sorted(entries)))
        return _headed(json.dumps(entries).encode(), data[8 + size :])

    return bytewise(".safetensors", change)


def _stored(name: str, value: Any) -> FileChange:
    return header(lambda entries, tensor: entries[tensor].update({name: value}))


def tensors(function: Callable[[dict[str, Tensor], str], Any], of: str | None = None) -> FileChange:
    """A well-formed file of other tensors."""

    def change(data: bytes, draw: random.Random) -> bytes:
        values = load_tensors(data)
        function(values, of or draw.choice(sorted(values)))
        return save_tensors({name: value.contiguous() for name, value in values.items()})

    return bytewise(".safetensors", change)


def _each(function: Callable[[Tensor], Tensor], of: str | None = None) -> FileChange:
    return tensors(lambda values, name: values.update({name: function(values[name])}), of)


# Fields.

NONSENSE: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "negative": -1,
    "fraction": 1.5,
    "large": 10**6,
    "too large": 10**30,
    "far too large": 10**400,
    "infinite": INFINITY,
    "not a number": NAN,
    "empty": "",
    "path": "../outside",
    "absolute path": "/etc/passwd",
    "zero byte": "a\0b",
    "surrogate": "\ud800",
    "digits of another script": "٣",
    "underscores": "1_0",
    "spaces": " 1 ",
    "infinity in words": "inf",
    "not a number in words": "nan",
    "large exponent": "1e99999",
    "huge exponent": "1e999999999",
    "many digits": "9" * 5000,
    "long": "x" * 10**5,
    "empty list": [],
    "empty object": {},
    "list of lists": [[[]]],
    "reversed ends": ["2", "1"],
    "ends of zero": ["0", "0"],
    "negative ends": ["-2", "-1"],
    "huge ends": ["1e9999", "1e9999"],
    "ends of numbers": [1, 2],
    "three ends": ["1", "2", "3"],
    "three large": [10**30, 10**30, 10**30],
    "two large": [10**30, 10**30],
    "two of 2⁶²": [2**62, 2**62],
    "two zeros": [0, 0],
}


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found


def field(function: Callable[[Any, Any, random.Random], None]) -> FileChange:
    """Something done to (container, key) of a place in the JSON; settings as often as numbers."""

    def change(data: bytes, draw: random.Random) -> bytes:
        value = json.loads(data)
        places = _places(value)
        named = [(where, key) for where, key in places if isinstance(where, dict)]
        function(*draw.choice(named if draw.random() < 0.8 else places), draw)
        return json.dumps(value).encode()

    return bytewise(".json", change)


def _becomes(nonsense: Any) -> FileChange:
    def change(where: Any, key: Any, draw: random.Random) -> None:
        where[key] = nonsense

    return field(change)


def _removed(where: Any, key: Any, draw: random.Random) -> None:
    del where[key]


def _added(where: Any, key: Any, draw: random.Random) -> None:
    if isinstance(where, dict):
        where["surprise"] = 1
    else:
        where.append(where[key])


def _elsewhere(where: Any, key: Any, draw: random.Random) -> None:
    """The value of one field in another's place."""
    where[key] = where[draw.choice(list(where) if isinstance(where, dict) else range(len(where)))]


def _twice(data: bytes, draw: random.Random) -> bytes:
    return data.replace(b"{", b'{"version": 7, "kind": "relu", ', 1)


FILE_CHANGES: dict[str, FileChange] = {
    "cut": bytewise(None, _cut),
    "bit": bytewise(None, _flipped),
    "bit of a tensor file": bytewise(".safetensors", _flipped),
    "bit of the header": bytewise(".safetensors", lambda d, r: _flipped(d, r, 300)),
    "bit of the length": bytewise(".safetensors", lambda d, r: _flipped(d, r, 8)),
    "bit of the text": bytewise(".json", _flipped),
    "bytes more": bytewise(None, _inserted),
    "bytes behind": bytewise(None, lambda d, r: d + r.randbytes(16)),
    "empty file": bytewise(None, lambda d, r: b""),
    "noise": bytewise(None, lambda d, r: r.randbytes(200)),
    "zeros": bytewise(None, lambda d, r: bytes(len(d))),
    "file missing": _without_one,
    "both missing": lambda contents, draw: contents.clear(),
    "files swapped": lambda contents, draw: contents.update(
        dict(zip(contents, reversed(list(contents.values())), strict=True))
    ),
    "pickle": bytewise(None, lambda d, r: pickle.dumps(Planted())),
    "pickle of torch": bytewise(None, lambda d, r: _torch_saved()),
    "pickle in a zip": bytewise(None, lambda d, r: _zip()),
    "pickle behind": bytewise(None, lambda d, r: d + pickle.dumps(Planted())),
    "header of 2⁶⁴": bytewise(".safetensors", lambda d, r: b"\xff" * 8 + d[8:]),
    "header of nothing": bytewise(".safetensors", lambda d, r: bytes(8) + d[8:]),
    "header of nonsense": bytewise(".safetensors", lambda d, r: _headed(b"nonsense")),
    "header nested deeply": bytewise(".safetensors", lambda d, r: _headed(b"[" * 10**5)),
    "no tensors": bytewise(".safetensors", lambda d, r: _headed(b"{}")),
    "dtype F32": _stored("dtype", "F32"),
    "dtype unknown": _stored("dtype", "F63"),
    "shape negative": _stored("shape", [-1]),
    "shape huge": _stored("shape", [2**40, 2**40]),
    "shape of nothing": _stored("shape", []),
    "offsets reversed": _stored("data_offsets", [16, 0]),
    "offsets beyond": _stored("data_offsets", [0, 2**60]),
    "offsets shared": _stored("data_offsets", [0, 8]),
    "tensor renamed": header(lambda entries, n: entries.update({"../x": entries.pop(n)})),
    "tensor unnamed": header(lambda entries, n: entries.update({"": entries.pop(n)})),
    "tensor forgotten": header(lambda entries, n: entries.pop(n)),
    "tensor missing": tensors(lambda values, name: values.pop(name)),
    "tensor more": tensors(lambda values, name: values.update(extra=values[name])),
    "tensor float32": _each(Tensor.float),
    "tensor float16": _each(Tensor.half),
    "tensor of integers": _each(Tensor.long),
    "tensor of booleans": _each(Tensor.bool),
    "tensor complex": _each(lambda v: v.to(torch.complex64)),
    "tensor NaN": _each(lambda v: v * NAN),
    "tensor infinite": _each(lambda v: v + INFINITY),
    "tensor huge": _each(lambda v: v * 0 + 1e308),
    "tensor denormal": _each(lambda v: v * 0 + 5e-324),
    "tensor zero": _each(torch.zeros_like),
    "tensor flat": _each(Tensor.flatten),
    "tensor turned": _each(lambda v: v.mT if v.ndim > 1 else v),
    "tensor of more axes": _each(lambda v: v[None]),
    "tensor scalar": _each(lambda v: v.flatten()[0]),
    "tensor empty": _each(lambda v: v[:0]),
    "tensor shorter": _each(lambda v: v[1:]),
    "tensors empty": tensors(lambda values, n: [values.update({k: values[k][:0]}) for k in values]),
    "labels fraction": _each(lambda v: v + 0.5, "labels"),
    "labels large": _each(lambda v: v + 100, "labels"),
    "labels vast": _each(lambda v: v + 1e300, "labels"),
    "labels negative": _each(lambda v: -v - 1, "labels"),
    "labels fewer": _each(lambda v: v[1:], "labels"),
    "labels none": _each(lambda v: v[:0], "labels"),
    "labels in a column": _each(lambda v: v.flatten()[:, None], "labels"),
    "inputs fewer": _each(lambda v: v[1:], "inputs"),
    "inputs none": _each(lambda v: v[:0], "inputs"),
    "inputs wider": _each(lambda v: torch.cat([v, v], dim=-1), "inputs"),
    "no data": tensors(lambda v, n: v.update(inputs=v["inputs"][:0], labels=v["labels"][:0])),
    "text nested deeply": bytewise(".json", lambda d, r: b"[" * 10**5),
    "text of nothing": bytewise(".json", lambda d, r: b"null"),
    "text of a list": bytewise(".json", lambda d, r: b"[" + d + b"]"),
    "text of a number": bytewise(".json", lambda d, r: b"9" * 5000),
    "text in UTF-16": bytewise(".json", lambda d, r: d.decode().encode("utf-16")),
    "text with a mark": bytewise(".json", lambda d, r: b"\xef\xbb\xbf" + d),
    "text with twins": bytewise(".json", _twice),
    "field missing": field(_removed),
    "field more": field(_added),
    "field elsewhere": field(_elsewhere),
    **{f"field {name}": _becomes(value) for name, value in NONSENSE.items()},
    "name of dots": _renamed(".."),
    "name of spaces": _renamed("  "),
    "name hidden": _renamed(".hidden"),
    "name with a new line": _renamed("a\nb"),
}
