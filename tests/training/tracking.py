"""What a tracker wrote, and what it may not change."""

import csv
from pathlib import Path

import torch
from torch import nn

import igsref
from igsref.training.track import SCALARS


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def steps(path: Path) -> list[int]:
    return [int(row["step"]) for row in rows(path)]


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    """Bit for bit, with buffers."""
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    assert all(name == same and torch.equal(a, b) for (name, a), (same, b) in pairs)


def assert_rows_of(path: Path, middle: igsref.Result, last: igsref.Result) -> None:
    """Three rows whose values change; the second and the last are those of two measurements."""
    found = rows(path)
    assert steps(path) == [0, 3, 6]
    for name in SCALARS:
        assert float(found[1][name]) == float(getattr(middle, name))
    assert (found[1]["method"], found[1]["problem"]) == (middle.method, "")
    assert found[0]["value"] != found[1]["value"] != found[2]["value"]
    assert last.value == float(found[2]["value"])
