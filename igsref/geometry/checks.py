"""What rows of derivatives must be, and what is said where they are nothing."""

import warnings

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.jacobian.rows import level_of_caller
from igsref.problem import Problem


def check_rows(problem: Problem, block: Float64[Tensor, "rows columns"], start: int) -> None:
    """Refuse derivatives that are not finite; the block begins with column ``start`` of θ."""
    if bool(torch.isfinite(block.sum())) or bool(torch.isfinite(block).all()):
        return
    bad = (~torch.isfinite(block)).nonzero()
    row, column = bad[0].tolist()
    raise ValueError(
        f"derivatives of the logits must be finite; those of sample "
        f"{row // problem.rows_per_sample} by {_name_of(problem, start + column)} are not "
        f"({len(bad)} of {block.numel()} entries)"
    )


def warn_of_no_derivative(matrix: Float64[Tensor, "rows k"]) -> None:
    """Say a word where all derivatives are 0."""
    if not bool(matrix.any()):
        warnings.warn(
            "the logits' differences do not depend on the chosen parameters: every derivative is "
            "0, and so is the IGS",
            RuntimeWarning,
            stacklevel=level_of_caller(),
        )


def _name_of(problem: Problem, column: int) -> str:
    for name, value in problem.function.parameters.items():
        if column < value.numel():
            return f"{name}[{column}] (flattened)"
        column -= value.numel()
    raise IndexError(column)
