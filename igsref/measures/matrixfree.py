"""IGS of networks whose Jacobian does not fit: some of it certain, the rest estimated by probes.

What is certain is a part of range(A) that was multiplied out: every sample's energy in it is a
lower bound. What is estimated are the samples that share a probe, whose energy is known in the mean
over random signs. Nothing but the ceiling is known from above.
"""

import hashlib
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, SupportsIndex, Unpack

import torch
import torch.distributed as dist
from torch import Tensor

from igsref.arguments import check_type, checked_integer, checked_positive
from igsref.curvature.kfac import Ekfac
from igsref.curvature.operators import FactorOperator, factor_operator
from igsref.curvature.rank_bound import rank_bound
from igsref.curvature.sharded import ShardedOperator, agreed_by_all, sharded_operator
from igsref.enclosure import Enclosure
from igsref.geometry.checkpoint import Checkpoint, kept_setting, problem_fingerprint
from igsref.geometry.krylov import FoundRange, Krylov, KrylovState, Limits, run, step_bytes
from igsref.geometry.plan import plan_of
from igsref.geometry.preconditioner import (
    EkfacPreconditioner,
    NoPreconditioner,
    RightPreconditioner,
    ekfac_preconditioner,
    sample_weights,
)
from igsref.geometry.right_hand_sides import RightHandSides, right_hand_sides
from igsref.geometry.sketched import sketched_preconditioner
from igsref.jacobian.rounding import estimate_logit_error
from igsref.likelihoods.protocol import OutputError
from igsref.measures.igs import check_ceiling
from igsref.measures.outputs import ceiling_end_at, lower_end_at, output_error_at
from igsref.measures.result import Result, problem_fields
from igsref.memory import check_budget, require_memory
from igsref.problem import Problem, ProblemOptions, as_problem

METHOD = "krylov"
"""``Result.method`` of :func:`matrixfree_igs`."""
PRECONDITIONERS = ("ekfac", "sketch", "none")


def matrixfree_igs(
    model: Any,
    data: Any = None,
    *,
    tolerance: float = 1e-2,
    heaviest: SupportsIndex = 10,
    probes: SupportsIndex = 1,
    seed: SupportsIndex = 0,
    full_batch: bool = True,
    dtype: torch.dtype | None = None,
    preconditioner: str | Ekfac | None = None,
    max_iterations: SupportsIndex = 100,
    max_seconds: float = float("inf"),
    memory: int | None = None,
    checkpoint: str | Path | None = None,
    group: dist.ProcessGroup | None = None,
    **options: Unpack[ProblemOptions],
) -> Result:
    """IGS by block Krylov iterations: some vectors of length m are held, and a sketch's m² numbers.

    model, data, options: as for :func:`igsref.as_problem`; a Problem may stand for both.
    tolerance: stop where no more than that share of the ceiling is missing, or (where the network
        is not saturated) the last steps added no more than that share of the value.
    heaviest: so many samples get right-hand sides of their own, and with them certain values;
        all of them make every value certain. probes: of random signs for the others, by ``seed``.
    full_batch: whether the mean gradient has a right-hand side too. Every one costs as much as a
        probe; without it ``result.full_batch`` has only what was found for the others.
    dtype: of derivatives on the way, torch.float32 or torch.float64; results are multiplied out in
        float64. Unless given, float32 where F has at least as many parameters as rows and no
        sketch is asked for, and else float64: directions that float32 cannot tell from rounding
        are many there.
    preconditioner: "ekfac", of 4,096 inputs at random where there are more; "sketch", the triangle
        of a random sketch of 2m rows, which takes 10m² numbers and a QR of 3m × m; "none". Unless
        given, that of the checkpoint; the sketch where F has fewer parameters than rows and it fits
        ``memory`` (2 GiB unless given) and ``max_seconds``; and else EKFAC. Or an ``Ekfac``,
        as ``igsref.training.EKFAC.approximation()`` returns one. No bound depends on it.
        Which one, and where the sketch's triangle is cut, is said in the result's
        ``preconditioner``.
    max_iterations, max_seconds, memory: seconds from the call on, of all parts of a run that goes
        on; bytes that the run's vectors may take, what is free unless given. It stops there, with
        what is reached. Another step is made where it and the last products in float64 should end
        in time. What comes before the first step, preconditioner and weights, is not cut short.
    checkpoint: a file that the run is written to as it goes. If it is there, the run goes on from
        it, and ends with the same numbers as one that was never interrupted.
    group: processes that share the samples among them (``torch.distributed``, ``torchrun``); each
        calls this with the same arguments and gets the same result, and the first of them writes
        the checkpoint. Every one of them needs a copy of model and data.

    Returns a :class:`Result` with ``method`` "krylov".
    lower: certain up to rounding, which is estimated: the energy of every sample in a part of
        range(A) that was multiplied out. ``per_sample`` holds these lower ends.
    value: those of the heaviest samples and the mean of the probes. standard_error: of the latter
        over random signs; of one probe an upper estimate, √2 of what it misses of its ceiling.
    upper: the ceiling; nothing better is known. estimated_gap: estimate of what more steps would
        add to the value. history: every step. reason: why it ended: "ceiling", "remainder",
        "invariant" (the Krylov space is exhausted), "iterations", "time", "memory".

    Raises TypeError or ValueError that names the argument; CheckpointError for a checkpoint of
    another problem or settings, and for a damaged one; MemoryError, with the sizes. With a
    group, ValueError where the processes have different problems, or outnumber the inputs.
    """
    began = time.monotonic()
    checked_positive("tolerance", tolerance)
    checked_positive("max_seconds", max_seconds, finite=False)
    limit = checked_integer("max_iterations", max_iterations, least=1)
    check_type("full_batch", full_batch, bool, "a bool")
    columns = {
        "heaviest": checked_integer("heaviest", heaviest, least=0),
        "probes": checked_integer("probes", probes, least=1),
        "seed": checked_integer("seed", seed, least=0),
    }
    _check_choices(dtype, preconditioner)
    problem = as_problem(model, data, **options)
    if isinstance(preconditioner, Ekfac):
        _check_given(preconditioner, problem)
    budget = check_budget(memory, problem.function.device)
    # Asked of all processes, also of one that was told: none must wait for an answer.
    automatic = _preconditioner(problem, memory, max_seconds, checkpoint, group)
    chosen = preconditioner or automatic
    kind = _kind(chosen)
    if dtype is None:
        many = problem.num_rows > problem.num_parameters or kind == "sketch"
        dtype = torch.float64 if many else torch.float32
    check_ceiling(problem.likelihood.ceiling(problem.labelled_logits, problem.targets))
    sides = right_hand_sides(
        problem.residuals(), problem.members, problem.pool_size, full_batch=full_batch, **columns
    )
    settings = {**columns, "full_batch": full_batch, "dtype": str(dtype), "preconditioner": kind}
    ends = {"tolerance": tolerance, "max_iterations": limit, "max_seconds": max_seconds}
    store, state = _kept(problem, checkpoint, settings, ends, group)
    _require_a_step(problem, sides, budget)
    right = _right(problem, chosen, dtype, columns["seed"], budget)
    krylov = _prepared(problem, sides, dtype, right, group)
    if max_seconds < float("inf"):
        krylov = replace(krylov, seconds_to_verify=krylov.measured_seconds_to_verify())
    left = check_budget(memory, problem.function.device) if memory is None else budget
    limits = Limits(tolerance, limit, max_seconds, -int(krylov.operator.agreed(float(-left))))
    found = run(krylov, state, limits, store.save if store else lambda state: None, began)
    return _result(problem, krylov, found)


def _check_choices(dtype: torch.dtype | None, preconditioner: str | Ekfac | None) -> None:
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64; got {dtype}")
    if not isinstance(preconditioner, Ekfac) and preconditioner not in (None, *PRECONDITIONERS):
        raise ValueError(
            f"preconditioner must be one of {', '.join(PRECONDITIONERS)}, or an Ekfac; got "
            f"{preconditioner!r}"
        )


def _check_given(given: Ekfac, problem: Problem) -> None:
    """Refuse an approximation of other tensors than the problem's."""
    own = problem.function.parameters
    if list(given.rules) != list(own) or given.num_parameters != problem.num_parameters:
        raise ValueError(
            f"preconditioner must be of the parameters {', '.join(own)}; got an Ekfac of "
            f"{', '.join(given.rules)}"
        )


def _kind(preconditioner: str | Ekfac) -> str:
    """What a checkpoint calls it: of one that is given, a digest of its numbers."""
    if not isinstance(preconditioner, Ekfac):
        return preconditioner
    digest = hashlib.sha256()
    for block in preconditioner.blocks:
        for value in (block.scalings, block.input_basis, block.output_basis):
            if value is not None:
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return f"given, {digest.hexdigest()}"


def _kept(
    problem: Problem,
    checkpoint: str | Path | None,
    settings: dict[str, Any],
    ends: dict[str, Any],
    group: dist.ProcessGroup | None,
) -> tuple[Checkpoint | None, KrylovState | None]:
    """Where this process writes its checkpoints, if it does, and the state to go on from.

    settings: what a run's numbers depend on. ends: where it stops, the same in all processes.
    """
    fingerprint = problem_fingerprint(problem) if checkpoint is not None or group else {}
    store = state = None
    if checkpoint is not None:
        store = Checkpoint(Path(checkpoint), fingerprint, settings)
        state = store.load(problem.function.device)
    if group is None:
        return store, state
    reached = 0 if state is None else len(state.steps)
    _check_alike({**fingerprint, **settings, **ends, "checkpoint": reached}, group)
    return (store if dist.get_rank(group) == 0 else None), state


def _check_alike(mine: dict[str, Any], group: dist.ProcessGroup) -> None:
    """Refuse processes that were given different problems or settings, in all of them."""
    all_of_them: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(all_of_them, mine, group=group)
    for rank, other in enumerate(all_of_them):
        differ = [name for name in mine if other[name] != all_of_them[0][name]]
        if differ:
            raise ValueError(
                f"all processes must be given the same; process {rank} has other "
                f"{', '.join(differ)} than process 0"
            )


def _require_a_step(problem: Problem, sides: RightHandSides, budget: int) -> None:
    width = sides.matrix.shape[1]
    require_memory(
        step_bytes(problem.num_parameters, 0, width),
        budget,
        f"the first step with {width} right-hand sides and {problem.num_parameters} parameters",
        "choose fewer heaviest or probes, or fewer parameters with parameters='…'",
    )


def _preconditioner(
    problem: Problem,
    memory: int | None,
    max_seconds: float,
    checkpoint: str | Path | None,
    group: dist.ProcessGroup | None,
) -> str:
    """That of the run which goes on, if it says so; else the sketch for tall problems if it fits.

    It fits the budget that plans have, 2 GiB unless given, and the time, in all processes.
    """
    kept = kept_setting(Path(checkpoint), "preconditioner") if checkpoint is not None else None
    if agreed_by_all(kept in PRECONDITIONERS, group):
        return str(kept)
    planned = plan_of(problem, memory)
    fits = (
        planned.sketched_bytes is not None
        and planned.sketched_seconds is not None
        and planned.sketched_bytes <= planned.bytes_available
        and planned.sketched_seconds <= max_seconds
    )
    return "sketch" if agreed_by_all(fits, group) else "ekfac"


def _right(
    problem: Problem, chosen: str | Ekfac, dtype: torch.dtype, seed: int, budget: int
) -> RightPreconditioner:
    if isinstance(chosen, Ekfac):
        return EkfacPreconditioner(chosen)
    if chosen == "sketch":
        return sketched_preconditioner(problem, seed, budget, dtype)
    if chosen == "none":
        return NoPreconditioner()
    return ekfac_preconditioner(problem, seed, budget, dtype)


def _prepared(
    problem: Problem,
    sides: RightHandSides,
    dtype: torch.dtype,
    right: RightPreconditioner,
    group: dist.ProcessGroup | None,
) -> Krylov:
    """Operators, and weights where rows may be fewer than parameters."""
    width = sides.matrix.shape[1]

    def made(dtype: torch.dtype) -> FactorOperator | ShardedOperator:
        if group is None:
            return factor_operator(problem, dtype=dtype, width=width)
        return sharded_operator(problem, group, dtype=dtype, width=width)

    exact = made(torch.float64)
    operator = exact if dtype == torch.float64 else made(dtype)
    weights = cache(lambda: sample_weights(problem, right, operator.samples))
    wide = problem.num_rows <= problem.num_parameters
    return Krylov(problem, sides, operator, exact, right, weights if wide else None)


def _result(problem: Problem, krylov: Krylov, found: FoundRange) -> Result:
    residuals = problem.residuals()
    outputs = output_error_at(problem, estimate_logit_error(problem))
    energy = found.lower_block_energy(residuals, problem.members)
    most = ceiling_end_at(problem, residuals, outputs)
    lower = min(lower_end_at(problem, float(energy.sum()), outputs), most)
    columns = found.lower_energy(krylov.sides.matrix)
    total = float(found.lower_energy(krylov.sides.total[:, None])[0])
    value = min(max(problem.weight * krylov.energy(columns), lower), most)
    ceiling = problem.likelihood.ceiling(problem.labelled_logits, problem.targets)
    ceiling = ceiling / problem.multiplicity()
    bound = rank_bound(problem)
    return Result(
        lower=lower,
        value=value,
        upper=most,
        grade="estimated",
        ceiling=most,
        saturated=False,
        rank=found.basis.shape[1],
        rank_lower=found.basis.shape[1],
        rank_upper=bound.value,
        rank_source=bound.source,
        clear_rank=False,
        # (‖z‖ ± e‖b‖)/(1 ∓ e) squared, ‖z‖ ≤ ‖b‖: four times e of ‖b‖², to first order.
        rounding_error=4 * found.error * problem.weight * krylov.largest,
        full_batch=_full_batch(problem, total, outputs, most),
        method=METHOD,
        margin=0.0,
        per_sample=(torch.minimum(energy, ceiling) * problem.pool_size).cpu(),
        sample_ceiling=(ceiling * problem.pool_size).cpu(),
        standard_error=problem.weight * _standard_error(krylov.sides, columns),
        estimated_gap=problem.weight * found.still_to_come,
        reason=found.reason,
        preconditioner=str(krylov.right),
        history=found.steps,
        **problem_fields(problem),
    )


def _standard_error(sides: RightHandSides, energies: Tensor) -> float:
    """Of the mean of the probes; of one probe √2 of what it misses, an upper estimate."""
    heavy, probes = sides.num_heaviest, sides.num_probes
    found = energies[heavy : heavy + probes]
    if probes == 0:
        return 0.0
    if probes == 1:
        return 2**0.5 * max(0.0, sides.probe_square - float(found[0]))
    return float(found.std()) / probes**0.5


def _full_batch(problem: Problem, energy: float, outputs: OutputError, most: float) -> Enclosure:
    """G = (N_F/N²) ‖P Σ v_i‖² ≤ IGS, ≥ what the part of the range holds of Σ v_i."""
    lower = min(lower_end_at(problem, energy, outputs) / problem.num_samples, most)
    value = min(max(lower, problem.weight * energy / problem.num_samples), most)
    return Enclosure(lower, value, most, "estimated")
