"""A pool of inputs for the Fisher matrix, which needs no labels (only the labelled samples do).

F may be a mean over N_F inputs that contain the N labelled ones: IGS stays invariant, and with
N_F·R > m it is no longer bound to be its ceiling.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from igsref.arguments import check_dense
from igsref.data import Samples, batch_inputs, bitwise_rows
from igsref.randomness import preserved_random_state

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def pooled(
    samples: Samples, fisher_data: Any, members: Any
) -> tuple[Samples, Int64[Tensor, " samples"]]:
    """All inputs of the pool beside the labels, and which of them the labelled samples are.

    fisher_data: inputs alone, a tensor, a tuple (by position), a mapping (by keyword; ``labels``
        is left out), or an iterable of such batches, where (x, labels) counts as x. None: the
        labelled samples are the pool.
    members: rows of fisher_data that the labelled inputs are, (N,); without it they are appended.

    Raises TypeError or ValueError for inputs that differ from the labelled ones in name, shape,
    dtype or device, and for members that are no such rows.
    """
    count = len(samples.labels)
    if fisher_data is None:
        if members is not None:
            raise ValueError("members are rows of fisher_data, and there is none")
        return samples, torch.arange(count)
    inputs = _collected(fisher_data, samples)
    if members is None:
        size = len(inputs)
        return _beside(inputs, samples), torch.arange(size, size + count)
    chosen = _checked_members(members, count, len(inputs))
    _check_same_inputs(samples, inputs, chosen)
    return inputs, chosen


def multiplicity(samples: Samples, members: Int64[Tensor, " samples"]) -> Int64[Tensor, " samples"]:
    """How often the input of each member is in the pool, bit for bit."""
    rows = bitwise_rows(samples.named_inputs().values())
    counts = Counter(rows)
    return torch.tensor([counts[rows[i]] for i in members.tolist()], dtype=torch.int64)


def _collected(fisher_data: Any, like: Samples) -> Samples:
    """The pool's inputs in the form of the labelled samples, with their labels."""
    parts = []
    with preserved_random_state():
        for number, raw in enumerate(_batches(fisher_data)):
            args, kwargs = batch_inputs(raw)
            parts.append(Samples(args, kwargs, like.labels))
            _check_like(parts[-1], like, number)
    if not sum(map(len, parts)):
        raise ValueError("fisher_data must hold at least one input; got none")
    return parts[0] if len(parts) == 1 else _joined(parts, like.labels)


def _batches(fisher_data: Any) -> Iterable[Any]:
    if isinstance(fisher_data, Tensor | tuple | Mapping):
        return [fisher_data]
    if isinstance(fisher_data, Dataset):
        fisher_data = DataLoader(fisher_data, batch_size=256)
    if not isinstance(fisher_data, Iterable):
        raise TypeError(
            "fisher_data must be inputs: a tensor, a tuple, a mapping, or an iterable of such "
            f"batches; got {type(fisher_data).__name__}"
        )
    return ((raw[0] if _is_labelled(raw) else raw) for raw in fisher_data)


def _is_labelled(raw: Any) -> bool:
    return isinstance(raw, tuple | list) and len(raw) == 2 and isinstance(raw[1], Tensor)


def _check_like(part: Samples, like: Samples, number: int) -> None:
    expected, got = like.named_inputs(), part.named_inputs()
    if (len(like.args), list(like.kwargs)) != (len(part.args), list(part.kwargs)):
        raise ValueError(
            f"fisher_data must hold the inputs of data, {list(expected)}, in the same form (a "
            f"tensor or a tuple by position, a mapping by keyword); batch {number} has {list(got)}"
        )
    for name, value in got.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} in fisher_data must be a tensor; got {type(value).__name__}")
        check_dense(f"{name} in fisher_data", value)
        was = expected[name]
        same = value.ndim > 0 and value.shape[1:] == was.shape[1:]
        if not same or value.dtype != was.dtype or value.device != was.device:
            raise ValueError(
                f"{name} in fisher_data must be like that in data, (·, "
                f"{', '.join(map(str, was.shape[1:]))}) {was.dtype} on {was.device}; batch "
                f"{number} has {tuple(value.shape)} {value.dtype} on {value.device}"
            )
        if len(value) != len(part):
            raise ValueError(
                f"inputs of fisher_data must have one length; in batch {number} {name} has "
                f"{len(value)}, the first input {len(part)}"
            )


def _joined(parts: list[Samples], labels: Tensor) -> Samples:
    return Samples(
        tuple(torch.cat(values) for values in zip(*(p.args for p in parts), strict=True)),
        {key: torch.cat([p.kwargs[key] for p in parts]) for key in parts[0].kwargs},
        labels,
    )


def _beside(inputs: Samples, samples: Samples) -> Samples:
    return _joined([inputs, samples], samples.labels)


def _checked_members(members: Any, count: int, size: int) -> Int64[Tensor, " samples"]:
    if not isinstance(members, Tensor) or members.dtype not in _INTEGERS:
        kind = members.dtype if isinstance(members, Tensor) else type(members).__name__
        raise TypeError(f"members must be a tensor of integers; got {kind}")
    if members.shape != (count,):
        raise ValueError(
            f"members must have shape ({count},), one row of fisher_data for each labelled "
            f"sample; got {tuple(members.shape)}"
        )
    if members.is_meta:
        raise ValueError("members are on the meta device, so they have no values")
    rows = members.cpu().long()
    bad = ((rows < 0) | (rows >= size)).nonzero()
    if len(bad):
        first = int(bad[0, 0])
        raise ValueError(
            f"members must lie in 0..{size - 1}, the rows of fisher_data; members[{first}] is "
            f"{int(rows[first])}"
        )
    repeated = [row for row, times in Counter(rows.tolist()).items() if times > 1]
    if repeated:
        raise ValueError(
            f"members must name each row once; {repeated[0]} comes more than once. A labelled "
            "sample that comes twice must be in fisher_data twice"
        )
    return rows


def _check_same_inputs(samples: Samples, inputs: Samples, members: Tensor) -> None:
    for name, value in samples.named_inputs().items():
        found = inputs.named_inputs()[name][members.to(value.device)]
        different = (found != value).reshape(len(value), -1).any(dim=1).nonzero()
        if len(different):
            first = int(different[0, 0])
            raise ValueError(
                f"fisher_data[members] must be the labelled inputs; {name}[{first}] differs from "
                f"row {int(members[first])} of fisher_data"
            )
