"""Data in any of the usual forms, as one set of inputs and labels with N samples.

A 2-tuple whose second entry is a tensor is (x, y). A mapping with the key ``labels`` is one
batch, the other keys going in by keyword. Anything else is iterated over for such batches: a
list, a ``Dataset``, a ``DataLoader``, a generator.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from igsref.arguments import check_dense
from igsref.randomness import preserved_random_state


@dataclass(frozen=True, eq=False)
class Samples:
    """Positional and keyword inputs with their number in front, and N labels.

    There are as many inputs as labels, or more of them: a pool (:mod:`igsref.pool`).
    """

    args: tuple[Tensor, ...]
    kwargs: dict[str, Tensor]
    labels: Tensor

    def __len__(self) -> int:
        return len(next(iter(self.named_inputs().values()), self.labels))

    def inputs(self, chosen: slice | Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Positional and keyword inputs of some samples, N still in front."""
        return (
            tuple(value[chosen] for value in self.args),
            {key: value[chosen] for key, value in self.kwargs.items()},
        )

    def to(self, device: torch.device) -> "Samples":
        """The same on a device."""
        return Samples(
            tuple(value.to(device) for value in self.args),
            {name: value.to(device) for name, value in self.kwargs.items()},
            self.labels.to(device),
        )

    def named_inputs(self) -> dict[str, Tensor]:
        """Every input under the name that an error message calls it by."""
        many = len(self.args) > 1
        positional = {f"x[{i}]" if many else "x": value for i, value in enumerate(self.args)}
        return {**positional, **self.kwargs}


def bitwise_rows(values: Iterable[Tensor]) -> list[bytes]:
    """Entry i of all tensors together, bit for bit: 0.0 and −0.0 differ, a network may tell."""
    parts = [value.unsqueeze(-1).flatten(1).contiguous().view(torch.uint8) for value in values]
    return [row.tobytes() for row in torch.cat(parts, dim=1).cpu().numpy()]


def is_one_shot(data: Any) -> bool:
    """Whether data is an iterator that can be read only once."""
    return isinstance(data, Iterator)


def collect(data: Any) -> Samples:
    """Read all of data, once, in the order in which it comes.

    A loader that shuffles gives another order each time, and so do all numbers per sample: a
    RuntimeWarning says so.

    Raises TypeError for what holds no labelled batches; ValueError for empty data, for lengths
    that differ within a batch, for batches whose shapes, dtypes or devices disagree.
    """
    if isinstance(getattr(data, "sampler", None), RandomSampler):
        warnings.warn(
            "data is a DataLoader that shuffles: samples are numbered in the order in which it "
            "gives them now, another one each time. Make it with shuffle=False",
            RuntimeWarning,
            stacklevel=2,
        )
    batches: list[Samples] = []
    with preserved_random_state():
        for number, raw in enumerate(_raw_batches(data)):
            batch = _batch(raw, number)
            if batches:
                _check_alike(batches[0], batch, number)
            if len(batch):
                batches.append(batch)
    if not batches:
        used = " (an iterator that was read before is empty)" if is_one_shot(data) else ""
        raise ValueError(f"data must hold at least one sample; got none{used}")
    return _joined(batches)


def _raw_batches(data: Any) -> Iterable[Any]:
    if _is_pair(data) and isinstance(data, tuple):
        return [data]
    if isinstance(data, Mapping):
        return [data]
    if isinstance(data, tuple) and len(data) == 2 and _is_array(data[1]):
        raise TypeError(
            f"data[1], the labels of the pair (x, y), must be a tensor; got "
            f"{type(data[1]).__name__}: torch.as_tensor makes one"
        )
    if isinstance(data, Dataset):
        return DataLoader(data, batch_size=256)
    if isinstance(data, Tensor) or not isinstance(data, Iterable):
        raise TypeError(
            "data must be a pair (x, y), a mapping with 'labels', or an iterable of such batches; "
            f"got {type(data).__name__}"
        )
    return data


def _is_pair(raw: Any) -> bool:
    return isinstance(raw, tuple | list) and len(raw) == 2 and isinstance(raw[1], Tensor)


def _is_array(value: Any) -> bool:
    return not isinstance(value, Tensor) and hasattr(value, "__array__")


def _batch(raw: Any, number: int) -> Samples:
    if isinstance(raw, Mapping):
        samples = _from_mapping(raw, number)
    elif _is_pair(raw):
        samples = _from_pair(raw)
    else:
        got = type(raw).__name__ + (f" of {len(raw)}" if isinstance(raw, tuple | list) else "")
        raise TypeError(
            f"batch {number} of data must be (x, labels) with labels a tensor, or a mapping with "
            f"'labels'; got {got}. Labels are needed; one pair is a tuple (x, y), a list "
            "holds batches"
        )
    _check_batch(samples, number)
    return samples


def _from_mapping(raw: Mapping, number: int) -> Samples:
    if "labels" not in raw:
        raise TypeError(f"batch {number} of data has no 'labels'; its keys are {list(raw)}")
    return Samples(*batch_inputs(raw), raw["labels"])


def _from_pair(raw: Any) -> Samples:
    x, labels = raw
    return Samples(*batch_inputs(x), labels)


def batch_inputs(x: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Positional and keyword inputs: of a mapping all but ``labels``, of a tuple each entry."""
    if isinstance(x, Mapping):
        return (), {key: value for key, value in x.items() if key != "labels"}
    return (tuple(x) if isinstance(x, tuple | list) else (x,)), {}


def _check_batch(samples: Samples, number: int) -> None:
    everything = {"labels": samples.labels, **samples.named_inputs()}
    for name, value in everything.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} in batch {number} of data must be a tensor; got {type(value).__name__}"
            )
        check_dense(f"{name} in batch {number} of data", value)
        if value.ndim == 0:
            raise ValueError(
                f"{name} in batch {number} of data must have samples in front; got () (single "
                "samples? Stack them, or give a Dataset)"
            )
        if len(value) != len(samples.labels):
            raise ValueError(
                f"{name} and labels in batch {number} of data must have the same length; got "
                f"{len(value)} and {len(samples.labels)}"
            )
    if not samples.named_inputs():
        raise TypeError(f"batch {number} of data holds labels but no inputs")


def _check_alike(first: Samples, batch: Samples, number: int) -> None:
    """Same names, trailing shapes, dtypes and devices as the first batch."""
    before = {**first.named_inputs(), "labels": first.labels}
    after = {**batch.named_inputs(), "labels": batch.labels}
    if list(before) != list(after):
        raise ValueError(
            f"batches of data must have the same inputs; batch 0 has {list(before)}, "
            f"batch {number} has {list(after)}"
        )
    for name, value in after.items():
        was, now = _signature(before[name]), _signature(value)
        if was != now:
            raise ValueError(
                f"{name} must have one shape, dtype and device in all batches; batch 0 has {was}, "
                f"batch {number} has {now}"
            )


def _signature(value: Tensor) -> str:
    return f"(·, {', '.join(map(str, value.shape[1:]))}) {value.dtype} on {value.device}"


def _joined(batches: list[Samples]) -> Samples:
    if len(batches) == 1:
        return batches[0]
    return Samples(
        tuple(torch.cat(parts) for parts in zip(*(b.args for b in batches), strict=True)),
        {key: torch.cat([b.kwargs[key] for b in batches]) for key in batches[0].kwargs},
        torch.cat([batch.labels for batch in batches]),
    )
