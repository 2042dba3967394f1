"""Blocks of all tensors without a Kronecker eigenbasis, exact, from their rows Lᵀ K J."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from igsref.curvature.kfac.block import Block
from igsref.curvature.kfac.chunks import Source
from igsref.flat import ranges
from igsref.jacobian.rows import jacobian_rows
from igsref.model import LogitFunction


def row_blocks(
    source: Source, dense: Sequence[tuple[str, ...]], diagonal: Sequence[str]
) -> list[Block]:
    """The block of F of each tuple of tensors, and the diagonal of F of each further tensor."""
    theta = source.function.parameters
    wanted = {name for names in dense for name in names} | set(diagonal)
    if not wanted:
        return []
    function = restricted(source.function, wanted)
    own = ranges(function.parameters)
    columns = [_indices(own, names) for names in dense]
    like = next(iter(theta.values()))
    squares = like.new_zeros(function.parameter_count)
    wholes = [like.new_zeros(len(chosen), len(chosen)) for chosen in columns]
    for rows in _rows(source, function):
        squares += rows.square().sum(dim=0)
        for whole, chosen in zip(wholes, columns, strict=True):
            part = rows[:, chosen.to(rows.device)]
            whole.addmm_(part.mT, part)
    places, count = ranges(theta), len(source.samples)
    blocks = [
        _dense(_indices(places, names), whole / count)
        for names, whole in zip(dense, wholes, strict=True)
    ]
    return blocks + [
        Block(
            _indices(places, [name])[None, None].to(like.device),
            squares[own[name]][None, None] / count,
        )
        for name in diagonal
    ]


def restricted(function: LogitFunction, names: set[str]) -> LogitFunction:
    """The same function with some of its tensors for θ, in their order, the others constants."""
    theta = function.parameters
    return replace(
        function,
        parameters={name: value for name, value in theta.items() if name in names},
        constants={**function.constants, **theta},
    )


def _indices(places: dict[str, slice], names: Sequence[str]) -> Int64[Tensor, " entries"]:
    return torch.cat([torch.arange(places[name].start, places[name].stop) for name in names])


def _rows(source: Source, function: LogitFunction) -> Iterator[Float[Tensor, "stacked params"]]:
    """All rows, a few samples and a few rows of each at a time."""
    row = function.parameter_count * (torch.finfo(source.dtype).bits // 8)
    height = max(1, min(source.group, source.work // row))
    size = max(1, source.work // (height * row))
    for chunk in source.chunks("rows"):
        problem = replace(chunk.problem, function=function)
        for cotangents in chunk.cotangents.split(height, dim=1):
            for chosen in torch.arange(len(chunk)).split(size):
                yield jacobian_rows(problem, cotangents, samples=chosen)


def _dense(entries: Int64[Tensor, " entries"], matrix: Float[Tensor, "entries entries"]) -> Block:
    # F has no negative eigenvalues: what is below 0 is rounding.
    values, vectors = torch.linalg.eigh(matrix)
    return Block(
        entries[None, None].to(matrix.device), values.clamp(min=0)[None, None], vectors[None]
    )
