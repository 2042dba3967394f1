"""A subspace of range(A) grown for a few right-hand sides: where n × m numbers do not fit.

Block Golub–Kahan on A T with weights W (:mod:`igsref.linalg.krylov`,
:mod:`igsref.geometry.preconditioner`) looks for x_j = T V y_j that make ‖b_j − A x_j‖ small. In the
end A X is multiplied out afresh, in float64, and an orthonormal basis Q of its columns is kept. For
any b whatever ‖Qᵀb‖ ≤ ‖P b‖: that is certain, up to the rounding of A X, for the right-hand sides
and for every single sample. How much they miss is not known: only that ‖P b‖ ≤ ‖b‖.

On the way the residual of U y, U = A T V as multiplied out in the working precision, says how it
goes, and A X says it again whenever the run would stop.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor
from tqdm import tqdm

from igsref.curvature.operators import FactorOperator
from igsref.curvature.sharded import ShardedOperator
from igsref.geometry.preconditioner import RightPreconditioner
from igsref.geometry.right_hand_sides import RightHandSides
from igsref.jacobian.rounding import PERTURBATIONS, perturbed_problems
from igsref.linalg.krylov import KrylovSpace, extended, krylov_space
from igsref.linalg.rounding import UNIT
from igsref.memory import FLOAT64_BYTES
from igsref.problem import Problem
from igsref.progress import SECONDS_BEFORE_PROGRESS

EXHAUSTED = "invariant"
"""Why a run ends that has found all that its precision can tell from rounding."""
_PILOT = 3
"""Steps with weights and as many without, at most, before one of the two goes on."""
_CLEAR = 0.5
"""The other is left earlier where the one misses less than that share of what it misses."""
_LOOK_BACK = 4
"""Steps whose gain estimates what is still to come."""
_SAFETY = 4.0
_HIGHER = (1.0, 2.0**5, 2.0**10, 2.0**15)
"""Factors of the cut that are tried one after the other."""
_SHORT = 1e-6
"""Of a value: what float64 may be short of what was promised, before directions are cut off."""
_ROUNDED = 16 * UNIT
"""Relative rounding of an entry of M_i, of its products, and of the decomposition that follows."""
_WORKING = 6
"""Copies of the frontier that preconditioning, products and orthogonalisation hold."""
_SOUND = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
"""Directions with a larger relative error are left out, for one of these: a single one that is
hardly sound takes off more from all samples than it adds."""


@dataclass(frozen=True)
class Step:
    """What is reached after so many steps.

    products: with A, and as many with Aᵀ, of one vector. seconds: since the run began, of all its
    parts if it was resumed. value: the estimate of the energy Σ ‖P v_i‖², missing: Σ ‖v_i‖² less
    that. verified: whether A X was multiplied out afresh in float64, rather than combined from U.
    """

    number: int
    products: int
    seconds: float
    value: float
    missing: float
    verified: bool


@dataclass(frozen=True, eq=False)
class KrylovState:
    """All that a run needs to go on: the space, whether weights are used, the steps so far."""

    space: KrylovSpace
    weighted: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class FoundRange:
    """Orthonormal columns Q, (n, q), of a part of range(A), and how they were found.

    error: estimate of ‖(A X − computed) R⁻¹‖, A X = Q R: how far Q is out of the range. reason: why
    the run ended. still_to_come: estimate of what more steps would add to the energy.
    """

    basis: Float64[Tensor, "rows q"]
    error: float
    steps: tuple[Step, ...]
    reason: str
    still_to_come: float

    def lower_energy(self, vectors: Float64[Tensor, "rows k"]) -> Float64[Tensor, " k"]:
        """At least this much of ‖P b‖² for each column b."""
        return lower_energy(self.basis, self.error, vectors)

    def lower_block_energy(
        self, blocks: Float64[Tensor, "samples rows"], places: Tensor
    ) -> Float64[Tensor, " samples"]:
        """At least this much of ‖P v_i‖² for each sample, v_i its block in its place."""
        own = self.basis.unflatten(0, (-1, blocks.shape[1]))[places]
        inside = torch.einsum("nrq,nr->nq", own, blocks).norm(dim=1)
        return _less_error(inside, blocks.norm(dim=1), self.error)


def lower_energy(
    basis: Float64[Tensor, "rows q"], error: float, vectors: Float64[Tensor, "rows k"]
) -> Float64[Tensor, " k"]:
    """At least this much of ‖P b‖² for each column b, Q a basis that is ``error`` off range(A)."""
    return _less_error((basis.mT @ vectors).norm(dim=0), vectors.norm(dim=0), error)


def _less_error(inside: Tensor, lengths: Tensor, error: float) -> Tensor:
    """((‖z‖ − e‖b‖)/(1 + e))², z = Qᵀb, e the error.

    A X R⁻¹z is in the range and at most e‖z‖ away from Q z; its inner product with b is at least
    ‖z‖² − e‖z‖‖b‖, and its length at most ‖z‖(1 + e).
    """
    return ((inside - error * lengths) / (1 + error)).clamp(min=0.0).square()


@dataclass(frozen=True, eq=False)
class Krylov:
    """A problem made ready for a run: operators in working precision and in float64.

    weights: W of the operator's own samples, by a call, since it takes their rows; None for a run
        without.
    seconds_to_verify: what A X in float64, and what is made of it, will take at the end.
    """

    problem: Problem
    sides: RightHandSides
    operator: FactorOperator | ShardedOperator
    exact: FactorOperator | ShardedOperator
    right: RightPreconditioner
    weights: Callable[[], Tensor] | None
    seconds_to_verify: float = 0.0

    def measured_seconds_to_verify(self) -> float:
        """Of A X and of its changes, by the time that the first samples take."""
        products = 1 + len(PERTURBATIONS)
        return products * self.exact.seconds_of_forward(self.sides.matrix.shape[1])

    def start(self, started: float, steps: int = _PILOT) -> KrylovState:
        """The first steps, or none where there are no weights to be chosen by them.

        With and without, side by side, until one of the two misses far less.
        """
        if self.weights is None:
            return self._state(None)
        trials = [self._state(weights) for weights in (None, self.weights())]
        for _ in range(steps):
            trials = [self.step(t, started) if _goes_on(t) else t for t in trials]
            few, many = sorted(_least_missing(trial) for trial in trials)
            if few < _CLEAR * many:
                break
        return min(trials, key=_least_missing)

    def _state(self, weights: Tensor | None) -> KrylovState:
        seeds = self.right.transposed(self.operator.adjoint(self.sides.matrix, weights))
        space = krylov_space(seeds, self.operator.num_rows, self._tolerance)
        return KrylovState(space, weights is not None, ())

    def step(self, state: KrylovState, started: float) -> KrylovState:
        """One product with A and one with Aᵀ for every direction of the frontier."""
        weights = self.weights() if state.weighted and self.weights is not None else None
        width = state.space.frontier.shape[1]

        def normal(vectors: Tensor) -> tuple[Tensor, Tensor]:
            images, back = self.operator.normal(self.right.apply(vectors), weights)
            return images, self.right.transposed(back)

        space = extended(state.space, normal, self._tolerance)
        coefficients = space.coefficients(self.sides.matrix, self._cut)
        residual = self.sides.matrix - space.images @ coefficients
        energies = self.sides.matrix.square().sum(dim=0) - residual.square().sum(dim=0)
        before = state.steps[-1] if state.steps else None
        done = self._step(energies, before, self.operator.agreed(time.monotonic() - started))
        done = replace(done, number=done.number + 1, products=done.products + width)
        return replace(state, space=space, steps=(*state.steps, done))

    def verified_step(self, energies: Tensor, before: Step | None, seconds: float) -> Step:
        """What is reached, from energies that were multiplied out in float64."""
        agreed = self.operator.agreed(seconds)
        return replace(self._step(energies, before, agreed), verified=True)

    def _step(self, energies: Tensor, before: Step | None, seconds: float) -> Step:
        value = self.energy(energies)
        number, products = (before.number, before.products) if before else (0, 0)
        return Step(number, products, seconds, value, self.largest - value, verified=False)

    def energy(self, energies: Float64[Tensor, " columns"]) -> float:
        """Σ ‖P v_i‖² from those of the columns: the heaviest, and the mean of the probes."""
        heavy, probes = self.sides.num_heaviest, self.sides.num_probes
        alone = float(energies[:heavy].sum())
        return alone + float(energies[heavy : heavy + probes].sum()) / max(1, probes)

    @property
    def largest(self) -> float:
        """Σ ‖v_i‖²."""
        return self.energy(self.sides.matrix.square().sum(dim=0))

    def verified_range(self, state: KrylovState) -> tuple[Tensor, float]:
        """Q of A X = Q R, multiplied out in float64, and the estimate of its error.

        Solutions that lean on directions near the rounding of U lose what U promised; then those
        directions are cut off further up, and the best of some tries is kept.
        """
        promised = state.steps[-1].value if state.steps else 0.0
        best, most = (self.sides.matrix[:, :0], 0.0), -1.0
        for cut in (self._cut * factor for factor in _HIGHER):
            basis, error = self._range_within(state, cut)
            value = self.energy(lower_energy(basis, error, self.sides.matrix))
            if value > most:
                best, most = (basis, error), value
            if most >= promised * (1 - _SHORT):
                break
        return best

    def _range_within(self, state: KrylovState, cut: float) -> tuple[Tensor, float]:
        coefficients = state.space.coefficients(self.sides.matrix, cut)
        solutions = self.right.apply(state.space.basis @ coefficients)
        images = self.exact.forward(solutions)
        lengths = images.norm(dim=0)
        kept = lengths > 0
        if not bool(kept.any()):
            return images[:, :0], 0.0
        images, solutions = images[:, kept] / lengths[kept], solutions[:, kept] / lengths[kept]
        left, sigma, right = torch.linalg.svd(images, full_matrices=False)
        sigma = sigma.clamp(min=torch.finfo(sigma.dtype).tiny)
        errors = [change @ (right.mT / sigma) for change in self._changes(solutions, images)]
        # Directions that rounding may have made are no part of the range.
        large = sigma > _ROUNDED * len(images) ** 0.5 * sigma[0]
        sizes = torch.stack([error.norm(dim=0) for error in errors]).amax(dim=0)
        parts = []
        for most in _SOUND:
            sound = large & (sizes < most)
            parts.append((left[:, sound], max(float(error[:, sound].norm()) for error in errors)))

        def worth(part: tuple[Tensor, float]) -> float:
            basis, error = part
            return self.energy(lower_energy(basis, error, self.sides.matrix))

        return max(parts, key=worth)

    def _changes(self, solutions: Tensor, images: Tensor) -> list[Tensor]:
        """A X for θ, inputs and roots moved in their last digits, less A X: rounding, estimated.

        What θ does not enter, as J x of a last bias, is rounded with the roots all the same.
        """
        changes = []
        for problem in perturbed_problems(self.problem, seed=0):
            moved = self.exact.perturbed(problem, _ROUNDED)
            changes.append(_SAFETY * (moved.forward(solutions) - images))
        return changes

    @property
    def _tolerance(self) -> float:
        return 64 * torch.finfo(self.operator.dtype).eps

    @property
    def _cut(self) -> float:
        return self._tolerance * self.right.amplification


def _goes_on(state: KrylovState) -> bool:
    return state.space.frontier.shape[1] > 0


def _least_missing(state: KrylovState) -> float:
    return min((step.missing for step in state.steps), default=0.0)


Saver = Callable[[KrylovState], None]


@dataclass(frozen=True)
class Limits:
    """When a run ends.

    tolerance: what may be missing to Σ ‖v_i‖², relative to that, or still to come, relative to the
    value. max_iterations, max_seconds: of all parts of a run that was resumed. memory: bytes that
    its vectors may take.
    """

    tolerance: float
    max_iterations: int
    max_seconds: float
    memory: int

    def reason(self, krylov: Krylov, state: KrylovState) -> str:
        """Why to stop here; empty to go on."""
        if not _goes_on(state):
            return EXHAUSTED
        last = state.steps[-1] if state.steps else None
        if last and last.missing <= self.tolerance * krylov.largest:
            return "ceiling"
        if last and still_to_come(state.steps) <= self.tolerance * last.value:
            return "remainder"
        if last and last.number >= self.max_iterations:
            return "iterations"
        if last and seconds_at_the_end(state.steps, krylov) >= self.max_seconds:
            return "time"
        kept, coming = state.space.dimension, state.space.frontier.shape[1]
        needed = step_bytes(krylov.operator.num_parameters, kept, coming)
        return "memory" if needed > self.memory else ""


def run(
    krylov: Krylov,
    state: KrylovState | None,
    limits: Limits,
    save: Saver,
    began: float | None = None,
) -> FoundRange:
    """Step until little is missing, or little still comes, or a limit is reached.

    state: where to go on, None for the beginning. save: gets each state. began: when seconds
    start to count, by ``time.monotonic`` (now unless given).

    Whenever the run would stop, A X is multiplied out afresh. If less is found than U promised, it
    goes on, unless the last time was no worse.
    Raises KeyboardInterrupt, with what was reached, when it is interrupted.
    """
    before = state.steps[-1].seconds if state and state.steps else 0.0
    started = (time.monotonic() if began is None else began) - before
    bar = tqdm(desc="Krylov steps", delay=SECONDS_BEFORE_PROGRESS, leave=False, disable=None)
    try:
        if state is None:
            state = krylov.start(started, min(_PILOT, limits.max_iterations))
            save(state)
        reached = -1.0
        while True:
            reason = limits.reason(krylov, state)
            if reason:
                found = _ended(krylov, state, reason, started)
                state = replace(state, steps=found.steps)
                if reason != "ceiling" or not _short(found.steps[-1], krylov, limits, reached):
                    return found
                reached = found.steps[-1].value
            state = krylov.step(state, started)
            save(state)
            bar.set_postfix_str(f"{100 * state.steps[-1].missing / krylov.largest:.2g}% missing")
            bar.update()
    except KeyboardInterrupt:
        steps = state.steps if state is not None else ()
        done = f"{steps[-1].number} steps" if steps else "no step"
        raise KeyboardInterrupt(
            f"interrupted after {done}; with checkpoint= a run goes on"
        ) from None
    finally:
        bar.close()


def _ended(krylov: Krylov, state: KrylovState, reason: str, started: float) -> FoundRange:
    """What a state has found, multiplied out in float64."""
    basis, error = krylov.verified_range(state)
    energies = lower_energy(basis, error, krylov.sides.matrix)
    before = state.steps[-1] if state.steps else None
    step = krylov.verified_step(energies, before, time.monotonic() - started)
    steps = (*state.steps, step)
    coming = 0.0 if reason == EXHAUSTED else still_to_come(steps)
    return FoundRange(basis, error, steps, reason, coming)


def _short(step: Step, krylov: Krylov, limits: Limits, reached: float) -> bool:
    """Whether the float64 value is short of what U promised, and still getting better."""
    return step.missing > limits.tolerance * krylov.largest and step.value > reached


def seconds_at_the_end(steps: tuple[Step, ...], krylov: Krylov) -> float:
    """When a run would be over that makes another step, one as long as the last."""
    taken = [step for step in steps if not step.verified]
    again = taken[-1].seconds - taken[-2].seconds if len(taken) > 1 else 0.0
    return steps[-1].seconds + again + krylov.seconds_to_verify


def step_bytes(num_parameters: int, kept: int, coming: int) -> int:
    """What vectors in parameter space take while a step is made: the basis twice, and copies."""
    return FLOAT64_BYTES * num_parameters * (2 * (kept + coming) + _WORKING * coming)


def still_to_come(steps: tuple[Step, ...]) -> float:
    """The gain of the last few steps, an estimate of what further ones would add; at most all.

    Where convergence is steady the rest is less than that; where it stagnates, it may be more.
    """
    taken = [step for step in steps if not step.verified]
    missing = taken[-1].missing if taken else float("inf")
    if len(taken) <= _LOOK_BACK:
        return missing
    return min(missing, max(0.0, taken[-1].value - taken[-1 - _LOOK_BACK].value))
