"""What a computation will take, from sizes alone: rows, columns, route, bytes, seconds."""

from dataclasses import dataclass
from typing import Any, Unpack

from igsref.memory import FLOAT64_BYTES, check_budget, readable, require_memory
from igsref.problem import Problem, ProblemOptions, as_problem, refuse_one_shot

DENSE = "dense"
_FLOPS = 2.0e10
"""Sustained float64 operations a second of the factorisations on two cores; fixed, so that plans
do not change from run to run."""
_ROW_ENTRIES = 1.0e8
"""Jacobian entries a second through vmap on two cores."""


@dataclass(frozen=True)
class Plan:
    """What ``exact_igs`` would do.

    num_samples N, num_classes C, num_rows n of the reduced factor, num_parameters m.
    bytes_needed: peak of the route, predicted. bytes_available: budget, or what is free now.
    seconds: a guess of the order of magnitude, on two idle cores.
    """

    num_samples: int
    num_classes: int
    num_rows: int
    num_parameters: int
    route: str
    bytes_needed: int
    bytes_available: int
    seconds: float

    @property
    def fits(self) -> bool:
        """Whether the route's predicted peak is within the budget."""
        return self.bytes_needed <= self.bytes_available

    def __str__(self) -> str:
        verdict = "fits in" if self.fits else "does NOT fit in"
        return (
            f"{self.route}: reduced factor {self.num_rows} × {self.num_parameters} "
            f"(N = {self.num_samples}, C = {self.num_classes}), "
            f"{readable(self.bytes_needed)} {verdict} {readable(self.bytes_available)}, "
            f"about {self.seconds:.2g} s"
        )


def plan(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Plan:
    """What ``exact_igs(model, data)`` would take, before it runs; only logits are evaluated.

    memory: budget in bytes (what is free unless given). options: as for ``igsref.as_problem``.
    Raises ValueError for an iterator that can be read only once, since none would be left.
    """
    refuse_one_shot(data, "plan")
    problem = as_problem(model, data, **options)
    rows, columns = problem.num_rows, problem.num_parameters
    return Plan(
        problem.num_samples,
        problem.num_classes,
        rows,
        columns,
        DENSE,
        dense_bytes(rows, columns),
        check_budget(memory, problem.function.device),
        _dense_seconds(problem.num_samples, rows, columns),
    )


def dense_bytes(rows: int, columns: int) -> int:
    """Peak of the dense route: D and LAPACK's copy of it, six square matrices, one chunk."""
    small = min(rows, columns)
    chunk = 3 * 2**26
    return FLOAT64_BYTES * (2 * rows * columns + 6 * small * max(small, rows)) + chunk


def _dense_seconds(samples: int, rows: int, columns: int) -> float:
    """Jacobian, factorisations, and the rounding estimate's residual of every sample."""
    small, large = sorted((rows, columns))
    factorisations = 2 * small**2 * large + 6 * small**3
    residuals = 10 * samples * rows * small
    return 0.02 + rows * columns / _ROW_ENTRIES + (factorisations + residuals) / _FLOPS


def require_dense(problem: Problem, memory: int | None) -> None:
    """Raise MemoryError where the dense route does not fit."""
    rows, columns = problem.num_rows, problem.num_parameters
    require_memory(
        dense_bytes(rows, columns),
        check_budget(memory, problem.function.device),
        f"the reduced factor of {rows} rows × {columns} parameters",
        "choose fewer samples, or fewer parameters with parameters='…' (a lower bound of the "
        "whole network's IGS); igsref.plan(model, data) tells what would fit",
    )
