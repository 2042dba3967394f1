"""The samples that F is a mean over, in portions that fit into memory, in the dtype of the work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from tqdm import tqdm

from igsref.curvature.kfac.capture import capture
from igsref.curvature.kfac.layers import KroneckerLayer
from igsref.data import Samples
from igsref.linalg.equilibrate import power_of_two_scale
from igsref.memory import batch_bytes, require_memory
from igsref.model import LogitFunction
from igsref.problem import Problem
from igsref.progress import SECONDS_BEFORE_PROGRESS

_CHUNK_BYTES = 2**29
_LARGEST_CHUNK = 512
_LARGEST_GROUP = 16
"""Rows that are differentiated before the layers' share of them is summed up."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some samples as the pool of a problem of their own, and the rows Lᵀ K of each.

    scales: powers of two that the rows were multiplied by; 1 unless the source is ``scaled``.
    """

    problem: Problem
    cotangents: Float[Tensor, "samples rows classes"]
    scales: Float64[Tensor, "samples rows"]

    def __len__(self) -> int:
        return len(self.cotangents)


@dataclass(frozen=True, eq=False)
class Source:
    """Where chunks come from: samples of a problem's pool by index, and the function in a dtype.

    size: samples of a chunk. group: rows of each that are differentiated together. work: bytes
    that the temporary tensors of a chunk may take. scaled: whether each row is brought near 1,
    which keeps those of confident samples in float32.
    """

    problem: Problem
    function: LogitFunction
    samples: Int64[Tensor, " chosen"]
    size: int
    group: int
    work: int
    scaled: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Of all that is computed."""
        return next(iter(self.function.parameters.values())).dtype

    def chunks(self, what: str) -> Iterator[Chunk]:
        """All samples, chunk by chunk, with a progress bar when it takes long."""
        parts = self.samples.split(self.size)
        # The bar does not count while it is not shown.
        yield from (
            self.chunk(part)
            for part in tqdm(
                parts,
                desc=f"EKFAC, {what}",
                unit="chunk",
                delay=SECONDS_BEFORE_PROGRESS,
                leave=False,
                disable=None,
            )
        )

    def chunk(self, chosen: Int64[Tensor, " chunk"]) -> Chunk:
        """The rows' coefficients are computed from the problem's own logits, then rounded."""
        dtype, likelihood = self.dtype, self.problem.likelihood
        args, kwargs = self.problem.samples.inputs(chosen)
        logits = self.problem.logits[chosen.to(self.problem.logits.device)]
        cotangents = likelihood.root(logits) @ likelihood.contrast(logits)
        scales = torch.ones_like(cotangents[:, :, 0])
        if self.scaled:
            scales = power_of_two_scale(cotangents.abs().amax(dim=2).flatten()).view_as(scales)
            cotangents = scales[:, :, None] * cotangents
        samples = Samples(
            tuple(_cast(value, dtype) for value in args),
            {key: _cast(value, dtype) for key, value in kwargs.items()},
            self.problem.samples.labels[:0],
        )
        part = replace(
            self.problem,
            function=self.function,
            samples=samples,
            logits=logits.to(dtype),
            targets=logits[:0].to(dtype),
            members=self.problem.members[:0],
        )
        return Chunk(part, cotangents.to(dtype), scales)

    def groups(self, chunk: Chunk) -> Iterator[Float[Tensor, "samples group classes"]]:
        """The rows of a chunk, a few at a time."""
        yield from chunk.cotangents.split(self.group, dim=1)


def source(
    problem: Problem,
    samples: Int64[Tensor, " chosen"],
    layers: Sequence[KroneckerLayer],
    function: LogitFunction,
    budget: int,
    *,
    all_rows: bool = False,
) -> Source:
    """Chunks of a size for which ``budget`` bytes are enough beside what is kept throughout.

    all_rows: those of a sample are differentiated together, however many there are, and scaled.
    Raises MemoryError, with the sizes, where they are not for one sample: one row of it, or all.
    """
    single = Source(problem, function, samples, 1, 1, 0)
    chunk = single.chunk(samples[:1])
    fixed, row = _entries_per_sample(chunk.problem, layers)
    entry = torch.finfo(single.dtype).bits // 8
    height = chunk.cotangents.shape[1]
    least = height if all_rows else 1
    gradient = least * max([layer.entry_count for layer in layers], default=0)
    require_memory(
        entry * (fixed + least * row + gradient),
        budget,
        "EKFAC of one sample, beside the factors of all layers,",
        "choose fewer parameters with parameters='…'",
    )
    work = min(batch_bytes(problem.function.device, _CHUNK_BYTES), budget // 2)
    group = height if all_rows else min(_LARGEST_GROUP, height)
    size = work // (entry * (fixed + group * row))
    if size == 0:
        size, group = 1, least
    return Source(problem, function, samples, min(size, _LARGEST_CHUNK), group, work, all_rows)


def in_dtype(function: LogitFunction, dtype: torch.dtype) -> LogitFunction:
    """The same function at the same θ in another dtype."""
    if next(iter(function.parameters.values())).dtype == dtype:
        return function
    return replace(
        function.source(dtype),
        parameters={name: value.to(dtype) for name, value in function.parameters.items()},
        constants={name: value.to(dtype) for name, value in function.constants.items()},
    )


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _entries_per_sample(problem: Problem, layers: Sequence[KroneckerLayer]) -> tuple[int, int]:
    """What a sample's forward pass and its largest layer hold, and what each row adds."""
    saved: list[int] = []
    values = {**problem.function.constants, **problem.function.parameters}
    known = {value.untyped_storage().data_ptr() for value in values.values()}

    def kept(value: Tensor) -> Tensor:
        if value.untyped_storage().data_ptr() not in known:
            saved.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(kept, lambda value: value):
        found = capture(problem, layers)
    outputs = [sum(use.y.numel() for use in uses) for uses in found.uses.values()]
    # Of each position: the patch, with its 1, in the basis, and squared.
    patches = [
        4 * layer.groups * layer.inputs * (size // (layer.groups * layer.outputs))
        for layer, size in zip(found.uses, outputs, strict=True)
    ]
    fixed = sum(saved) + 2 * sum(outputs) + max(patches, default=0)
    return fixed + problem.num_classes, sum(outputs) + 2 * max(outputs, default=0)
