"""How much of a known IGS a Krylov run has found after so many steps, and what it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch

import igsref
from igsref.curvature.kfac import ekfac
from igsref.curvature.operators import factor_operator
from igsref.geometry.krylov import Krylov, KrylovState, Limits, run
from igsref.geometry.preconditioner import (
    EkfacPreconditioner,
    NoPreconditioner,
    RightPreconditioner,
    sample_weights,
)
from igsref.geometry.right_hand_sides import right_hand_sides
from igsref.memory import available_memory

TARGETS = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class Found:
    """Shares of the true value after so many iterations, and the CPU seconds until then."""

    name: str
    shares: dict[int, float]
    seconds: dict[int, float]

    @property
    def last(self) -> int:
        """Iterations of the whole run."""
        return max(self.shares)

    def steps_to(self, target: float) -> int | None:
        """Iterations until the value is no further off than that, on either side."""
        return next((k for k, share in self.shares.items() if abs(1 - share) <= target), None)

    def row(self) -> list[str]:
        """Iterations and seconds to each target; the share in the end, iterations, seconds."""
        reached = []
        for target in TARGETS:
            steps = self.steps_to(target)
            reached.append("–" if steps is None else f"{steps} ({self.seconds[steps]:.0f} s)")
        end = f"{self.shares[self.last]:.4f}", str(self.last), f"{self.seconds[self.last]:.0f}"
        return [self.name, *reached, *end]


HEADER = ["route", *(f"to {100 * t:g}%" for t in TARGETS), "share", "after", "CPU s"]


@contextmanager
def processor_time() -> Iterator[list[float]]:
    """CPU seconds of a block, appended when it ends."""
    began, out = time.process_time(), []
    yield out
    out.append(time.process_time() - began)


def krylov_shares(
    problem: igsref.Problem, *, preconditioned: bool, weighted: bool, limit: int
) -> Found:
    """One probe by block Golub–Kahan; shares as float64 has them in the end, before that by U."""
    seconds: dict[int, float] = {}
    began = time.process_time()

    def passed(state: KrylovState) -> None:
        for step in state.steps:
            seconds.setdefault(step.number, time.process_time() - began)

    operator, exact = factor_operator(problem, dtype=torch.float32), factor_operator(problem)
    right: RightPreconditioner = NoPreconditioner()
    if preconditioned:
        right = EkfacPreconditioner(ekfac(problem, dtype=torch.float32))
    sides = right_hand_sides(
        problem.residuals(), problem.members, problem.pool_size, heaviest=0, probes=1, seed=0
    )
    weights = cache(lambda: sample_weights(problem, right)) if weighted else None
    krylov = Krylov(problem, sides, operator, exact, right, weights)
    limits = Limits(TARGETS[-1], limit, float("inf"), available_memory(problem.function.device))
    found = run(krylov, None, limits, save=passed)
    # The last step is verified in the end, by products in float64.
    seconds[found.steps[-1].number] = time.process_time() - began
    shares = {step.number: step.value / krylov.largest for step in found.steps}
    name = {(True, True): "igsref", (True, False): "no weights", (False, False): "nothing"}
    return Found(name[preconditioned, weighted], shares, seconds)
