"""What a computation will take, from sizes alone: rows, columns, route, bytes, seconds."""

from dataclasses import dataclass
from typing import Any, Unpack

from igsref.memory import (
    FLOAT64_BYTES,
    check_budget,
    readable,
    readable_time,
    require_memory,
)
from igsref.problem import Problem, ProblemOptions, as_problem, refuse_one_shot

DENSE = "dense"
STREAMED = "streamed"
DEFAULT_MEMORY = 2 * 2**30
"""The budget unless one is given, if so much is free: 2 GiB."""
_FLOPS = 2.0e10
"""Sustained float64 operations a second of the factorisations on two cores; fixed, so that plans
do not change from run to run."""
_ROW_ENTRIES = 1.0e8
"""Jacobian entries a second through vmap on two cores."""
_CHUNK = 3 * 2**26
_SQUARES = 20
"""Matrices of n × n numbers that a wide problem holds at its peak, beside three blocks of D."""
_TALL = 11
"""Matrices of the size of D that a tall problem holds at its peak."""
_ROW_COPIES = 8
_TALL_SQUARES = 16
"""Matrices of m × m numbers that a streamed tall problem holds, beside copies of its block."""
SKETCH_HEIGHT = 2
"""Rows of a tall problem's sketch, in multiples of m."""
_SKETCH_SQUARES = 10
"""Matrices of m × m numbers that a sketch of 2m rows and its damped QR hold."""
_SKETCH_STEPS = 25
_SKETCH_COLUMNS = 12
"""Steps of a Krylov run behind it, and its right-hand sides unless others are asked for."""
_NARROWEST = 4
"""A block has at least n/4 columns: less would take most of its time for the triangle."""


@dataclass(frozen=True)
class Plan:
    """What ``exact_igs`` would do.

    num_samples N, pool_size N_F, num_classes C, num_rows n of the reduced factor,
    num_parameters m. route: "dense", all of D at once, or "streamed": ``at_once`` columns of a wide
    factor at a time, or rows of a tall one.
    bytes_needed: peak of the route, predicted (benchmarks/streamed.py saw 0.7 to 1.4 of it).
    bytes_available: the budget.
    seconds: a guess of the order of magnitude, on two idle cores.
    sketched_bytes, sketched_seconds: the same of ``matrixfree_igs`` by a sketch of 2m rows, whose
    value is an estimate; None for wide problems, where nothing is gained by it.
    """

    num_samples: int
    pool_size: int
    num_classes: int
    num_rows: int
    num_parameters: int
    route: str
    at_once: int
    bytes_needed: int
    bytes_available: int
    seconds: float
    sketched_bytes: int | None
    sketched_seconds: float | None

    @property
    def fits(self) -> bool:
        """Whether the route's predicted peak is within the budget."""
        return self.bytes_needed <= self.bytes_available

    @property
    def sketch_is_cheaper(self) -> bool:
        """Whether the sketched estimate is predicted to take less time than the exact value."""
        return self.sketched_seconds is not None and self.sketched_seconds < self.seconds

    def require(self) -> None:
        """Raise MemoryError, with the sizes and what to do instead, where it does not fit."""
        require_memory(
            self.bytes_needed,
            self.bytes_available,
            f"the reduced factor of {self.num_rows} rows × {self.num_parameters} parameters",
            f"give memory={self.bytes_needed}, or choose fewer samples, or fewer parameters with "
            "parameters='…' (a lower bound of the whole network's IGS), or take igsref.igs or "
            "igsref.matrixfree_igs, which hold less",
        )

    def __str__(self) -> str:
        verdict = "fits in" if self.fits else "does NOT fit in"
        sketched = ""
        if self.sketched_bytes is not None and self.sketched_seconds is not None:
            cheaper = ", cheaper" if self.sketch_is_cheaper else ""
            sketched = (
                f"; sketched, an estimate{cheaper}: {readable(self.sketched_bytes)}, "
                f"about {readable_time(self.sketched_seconds)}"
            )
        return (
            f"{self.route}: reduced factor {self.num_rows} × {self.num_parameters} "
            f"(N = {self.num_samples}, C = {self.num_classes}), "
            f"{readable(self.bytes_needed)} {verdict} {readable(self.bytes_available)}, "
            f"about {readable_time(self.seconds)}{sketched}"
        )


def plan(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Plan:
    """What ``exact_igs(model, data)`` would take, before it runs; only logits are evaluated.

    memory: budget in bytes (2 GiB, or what is free if that is less).
    options: as for ``igsref.as_problem``.
    Raises ValueError for an iterator that can be read only once, since none would be left.
    """
    refuse_one_shot(data, "plan")
    refuse_one_shot(options.get("fisher_data"), "plan", "fisher_data")
    return plan_of(as_problem(model, data, **options), memory)


def plan_of(problem: Problem, memory: int | None) -> Plan:
    """The route for a problem: dense where it fits the budget, otherwise streamed.

    A function of sizes and budget alone.
    """
    n, m = problem.num_rows, problem.num_parameters
    budget = check_budget(memory, problem.function.device)
    if memory is None:
        budget = min(budget, DEFAULT_MEMORY)
    route, at_once, needed = _route(n, m, budget)
    return Plan(
        problem.num_samples,
        problem.pool_size,
        problem.num_classes,
        n,
        m,
        route,
        at_once,
        needed,
        budget,
        _seconds(problem, route, at_once),
        sketched_bytes(m) if n > m else None,
        sketched_seconds(problem) if n > m else None,
    )


def _route(n: int, m: int, budget: int) -> tuple[str, int, int]:
    """Route, columns at a time, bytes."""
    if n > m:
        return _tall_route(n, m, budget)
    if wide_bytes(n, m) <= budget:
        return DENSE, m, wide_bytes(n, m)
    least = max(1, min(m, n // _NARROWEST))
    width = (budget - wide_bytes(n, 0)) // (3 * FLOAT64_BYTES * n)
    width = max(least, min(m, width))
    return STREAMED, width, wide_bytes(n, width)


def _tall_route(n: int, m: int, budget: int) -> tuple[str, int, int]:
    """Route, rows at a time, bytes."""
    needed = FLOAT64_BYTES * _TALL * n * m + _CHUNK
    if needed <= budget:
        return DENSE, n, needed
    height = (budget - tall_bytes(m, 0)) // (_ROW_COPIES * FLOAT64_BYTES * m)
    height = max(1, m // _NARROWEST, min(n, height))
    return STREAMED, height, tall_bytes(m, height)


def tall_bytes(columns: int, height: int) -> int:
    """Peak of a streamed tall problem whose rows come ``height`` at a time."""
    square = _TALL_SQUARES * columns**2
    return FLOAT64_BYTES * (_ROW_COPIES * columns * height + square) + _CHUNK


def sketched_bytes(columns: int) -> int:
    """Peak of a sketch of 2m rows and its triangle, beside a block of rows."""
    return FLOAT64_BYTES * _SKETCH_SQUARES * columns**2 + _CHUNK


def sketched_seconds(problem: Problem) -> float:
    """Of one pass over the rows, a QR of 3m × m numbers, and steps with a dozen vectors each.

    A step takes a vector forwards and back through each sample, as long as a row of it or less.
    """
    n, m = problem.num_rows, problem.num_parameters
    products = n + 2 * _SKETCH_STEPS * _SKETCH_COLUMNS * problem.pool_size
    return 0.02 + products * m / _ROW_ENTRIES + 6 * m**3 / _FLOPS


def wide_bytes(rows: int, width: int) -> int:
    """Peak of a wide problem whose columns come ``width`` at a time."""
    return FLOAT64_BYTES * (3 * rows * width + _SQUARES * rows**2) + _CHUNK


def _seconds(problem: Problem, route: str, at_once: int) -> float:
    """Jacobians and factorisations of two passes, and each sample's residual; of nine, if tall."""
    n, m = problem.num_rows, problem.num_parameters
    width = at_once if n <= m else m
    passes = 9 if n > m and route == STREAMED else 2
    small, _ = sorted((n, m))
    # A tensor that is cut into blocks is differentiated as a whole for each of them.
    sizes = [tensor.numel() for tensor in problem.function.parameters.values()]
    entries = passes * n * sum(size * -(-size // width) for size in sizes)
    residuals = 10 * problem.num_samples * n * small / _FLOPS
    factorisations = factorisation_seconds(problem, blocks=-(-m // width))
    return 0.02 + 2 * entries / _ROW_ENTRIES + factorisations + residuals


def factorisation_seconds(problem: Problem, blocks: int = 1) -> float:
    """Of the orthogonal factorisations, D in so many blocks of columns; a guess from sizes."""
    small, large = sorted((problem.num_rows, problem.num_parameters))
    return (6 * small**2 * (large + blocks * small) + 30 * small**3) / _FLOPS


def require_dense(problem: Problem, memory: int | None) -> None:
    """Raise MemoryError where all of D, and what is made of it, does not fit what is there."""
    rows, columns = problem.num_rows, problem.num_parameters
    needed = wide_bytes(*sorted((rows, columns)))
    require_memory(
        needed,
        check_budget(memory, problem.function.device),
        f"the reduced factor of {rows} rows × {columns} parameters",
        "choose fewer samples, or fewer parameters with parameters='…'",
    )
