"""Jacobian rows some columns at a time, for factors that are never held as a whole."""

from collections.abc import Iterator
from dataclasses import replace

from jaxtyping import Float64
from torch import Tensor

from igsref.jacobian.rows import jacobian_rows
from igsref.problem import Problem


def column_ranges(problem: Problem, width: int) -> list[tuple[int, int]]:
    """Consecutive ranges of at most ``width`` columns that make up θ.

    Whole tensors share a range as long as they fit; a larger one is cut.
    """
    ranges: list[tuple[int, int]] = []
    start = stop = 0
    for tensor in problem.function.parameters.values():
        if stop > start and stop - start + tensor.numel() > width:
            ranges.append((start, stop))
            start = stop
        stop += tensor.numel()
        while stop - start > width:
            ranges.append((start, start + width))
            start += width
    return [*ranges, (start, stop)] if stop > start else ranges


def restricted(problem: Problem, start: int, stop: int) -> tuple[Problem, slice]:
    """The problem whose θ is the tensors that columns start:stop touch, and these columns in it."""
    names: list[str] = []
    first = offset = 0
    for name, tensor in problem.function.parameters.items():
        if offset + tensor.numel() > start and offset < stop:
            first = first if names else offset
            names.append(name)
        offset += tensor.numel()
    function = problem.function
    chosen = {name: function.parameters[name] for name in names}
    held = {name: value for name, value in function.parameters.items() if name not in chosen}
    function = replace(function, parameters=chosen, constants={**function.constants, **held})
    return replace(problem, function=function), slice(start - first, stop - first)


def column_blocks(
    problem: Problem,
    cotangents: Float64[Tensor, "samples rows classes"],
    ranges: list[tuple[int, int]],
) -> Iterator[Float64[Tensor, "stacked columns"]]:
    """K_i J_i of all samples for each range of columns."""
    for start, stop in ranges:
        part, columns = restricted(problem, start, stop)
        yield jacobian_rows(part, cotangents, columns=columns)
