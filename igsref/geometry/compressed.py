"""Saturation shown from a few columns, for networks whose whole factor does not fit.

range(D S) ⊂ range(D) for any choice S of columns, and rank(W D S T) ≤ rank(D) for any W and T: so
about 2n of the m parameters, drawn from all of θ, prove that D has full row rank n wherever theirs
have, and then the IGS is its ceiling. T scales the columns by powers of two. W whitens the rows of
each sample, which brings the smallest eigenvalue of the n × n Gram matrix far above its rounding.
A verified Cholesky factorisation of it is the proof: :mod:`igsref.linalg.verified`,
docs/compressed.md.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from igsref.arguments import checked_integer
from igsref.curvature.rank_bound import RankBound, rank_bound
from igsref.enclosure import Grade
from igsref.geometry.checks import check_rows, warn_of_no_derivative
from igsref.geometry.verify import is_verifiable, proven_row_error
from igsref.jacobian.rounding import Rounding, estimate_rounding
from igsref.jacobian.rows import CHUNK_BYTES, chunk_size, jacobian_rows, level_of_caller
from igsref.linalg.equilibrate import Scales, equilibrate_columns_
from igsref.linalg.orthogonal import invert_triangle
from igsref.linalg.rounding import UNIT, gamma
from igsref.linalg.verified import gram_matrix, independent_rows
from igsref.memory import FLOAT64_BYTES, batch_bytes, check_budget, require_memory
from igsref.problem import Problem
from igsref.progress import interruptible

COLUMNS_PER_ROW = 2
_PROBES = 8
"""Samples at which rounding is estimated together."""
_GROUP_BYTES = 2**31
"""Of the gradients at these samples, unless a single tensor has more."""
_GRADIENT_COPIES = 3
_SQUARES = 5
"""Matrices of n × n numbers at the peak of the proof, the Gram matrix among them."""
_GRADIENT_ENTRIES = 3.0e7
"""Entries of gradients a second on one thread; fixed, so that predictions do not change from run to
run. Convolutional networks were seen to make 1.3e7 (ResNet-8) to 7e7."""
_FLOPS = 2.0e10
_PROVEN_PASSES = 7
"""What a running error analysis takes, in passes for the rows themselves."""
_HALF_THE_DIGITS = UNIT**0.5
_VANISHED = 2.0**-1074


@dataclass(frozen=True, eq=False)
class SaturationCertificate:
    """What a few columns of D, the class differences of the Jacobian, show of its rank.

    full: D has full row rank N_F·R, so that every IGS is its ceiling. False where not shown.
    rank_lower: D, and F, have at least this rank. rank_upper: at most this, by structure; where
        its source is "distinct inputs" and both are equal, the IGS is its ceiling as well.
    lower_rows: rows of the whitened factor W D S T that are linearly independent.
    smallest: σ_min of these rows as computed is at least this, proven. error: and they are known
        to this, in the Frobenius norm. smallest > error is the proof.
    columns: entries of the flattened θ that were looked at, rising.
    grade: "verified" where ``error`` is proven, "estimated" where rounding of the Jacobian is.
    """

    full: bool
    rank_lower: int
    rank_upper: RankBound
    lower_rows: Int64[Tensor, " k"]
    smallest: float
    error: float
    columns: Int64[Tensor, " columns"]
    grade: Grade


def saturation_certificate(
    problem: Problem,
    *,
    columns: Tensor | None = None,
    seed: int = 0,
    memory: int | None = None,
) -> SaturationCertificate:
    """Whether a few columns prove that the reduced factor has full row rank n.

    columns: entries of the flattened θ (2n of all of them, at random under ``seed``, unless given).
    memory: budget in bytes (what is free unless given).

    Raises ValueError for columns that are no entries of θ, TypeError for ones that are no integers;
    MemoryError, with the sizes, before anything large is allocated.
    Warns with RuntimeWarning, before any derivative is taken, where full rank is out of the
    question: equal inputs, fewer columns than rows, symmetries of the network.
    """
    chosen = _checked(problem, columns, seed)
    upper = rank_bound(problem)
    _warn_of_bound(problem, upper, len(chosen))
    require_memory(
        compressed_bytes(problem, chosen),
        check_budget(memory, problem.function.device),
        f"the Gram matrix of {problem.num_rows} rows × {len(chosen)} columns",
        "choose fewer samples",
    )
    rows, row_error, grade = _whitened_rows(problem, chosen)
    gram, rounding = gram_matrix(rows)
    del rows
    found = independent_rows(gram, rounding, row_error)
    rank = len(found.rows)
    return SaturationCertificate(
        full=rank == problem.num_rows,
        rank_lower=rank,
        rank_upper=upper,
        lower_rows=found.rows.sort().values,
        smallest=found.smallest,
        error=found.error,
        columns=chosen,
        grade=grade,
    )


def random_columns(problem: Problem, count: int, seed: int) -> Int64[Tensor, " columns"]:
    """So many entries of the flattened θ at random, each as likely as any other; rising.

    All of them where θ has no more.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(problem.num_parameters, generator=generator)[:count]
    return drawn.sort().values


def chosen_entries(problem: Problem, columns: Int64[Tensor, " columns"]) -> Problem:
    """The problem whose θ is these entries of the flattened θ, rising; the others are constants.

    Its IGS is at most that of the whole problem: ``exact_igs`` of it is a lower bound.
    """
    function = problem.function
    places = dict(_by_tensor(function.parameters, columns))
    theta = {_key(name): function.parameters[name].flatten()[own] for name, own in places.items()}

    def evaluate(
        values: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        whole = dict(values)
        for name, own in places.items():
            tensor = values[name]
            entries = whole.pop(_key(name))
            whole[name] = tensor.flatten().scatter(0, own, entries).view_as(tensor)
        return function.evaluate(whole, args, kwargs)

    constants = {**function.constants, **function.parameters}
    part = replace(
        function,
        evaluate=evaluate,
        parameters=theta,
        constants=constants,
        layers=None,
        structure=None,
    )
    return replace(problem, function=part)


def compressed_bytes(problem: Problem, columns: Int64[Tensor, " columns"]) -> int:
    """The peak of a certificate from these columns, but for what the model's layers hold."""
    n, k = problem.num_rows, len(columns)
    proof = max(n * k + 2 * n**2, _SQUARES * n**2)
    at_once = max(_samples_at_once(problem, columns), min(_PROBES, problem.pool_size))
    largest = max(_entries(problem, group) for group in _groups(problem, columns))
    gradients = max(
        _samples_at_once(problem, columns) * _touched(problem, columns), at_once * largest
    )
    rows = n * k + _GRADIENT_COPIES * problem.rows_per_sample * gradients
    return FLOAT64_BYTES * max(rows, proof)  # the gradients are gone when the proof begins


def compressed_seconds(problem: Problem, columns: Int64[Tensor, " columns"]) -> float:
    """A guess of the order of magnitude, on one thread: gradients, Gram matrix, Cholesky.

    Of the rows, at two perturbed θ for a few samples and each group of tensors, and of the error
    analysis; a function of sizes alone.
    """
    n, k = problem.num_rows, len(columns)
    probes = min(_PROBES, problem.pool_size) * problem.rows_per_sample
    gradients = n + 2 * probes * len(_groups(problem, columns))
    if is_verifiable(problem):
        gradients += _PROVEN_PASSES * n
    entries = gradients * _touched(problem, columns)
    return entries / _GRADIENT_ENTRIES + (n**2 * k + 3 * n**3) / _FLOPS


def _key(name: str) -> str:
    return f"{name}, chosen entries"


def _by_tensor(
    parameters: Mapping[str, Tensor], columns: Tensor
) -> Iterator[tuple[str, Int64[Tensor, " own"]]]:
    """Each tensor that holds a column, and which of its flattened entries they are."""
    start = 0
    for name, tensor in parameters.items():
        stop = start + tensor.numel()
        own = columns[(columns >= start) & (columns < stop)]
        if len(own):
            yield name, own - start
        start = stop


def _checked(problem: Problem, columns: Tensor | None, seed: int) -> Int64[Tensor, " columns"]:
    """The columns, rising and each once."""
    device = problem.function.device
    if columns is None:
        seed = checked_integer("seed", seed, least=0)
        return random_columns(problem, COLUMNS_PER_ROW * problem.num_rows, seed).to(device)
    if columns.dtype != torch.int64 or columns.ndim != 1:
        raise TypeError(
            "columns must be a tensor of int64 entries of the flattened θ, (k,); got "
            f"{tuple(columns.shape)} of {columns.dtype}"
        )
    chosen = columns.to(device).unique()
    wrong = chosen[(chosen < 0) | (chosen >= problem.num_parameters)]
    if len(chosen) == 0 or len(wrong):
        raise ValueError(
            f"columns must be entries 0..{problem.num_parameters - 1} of the flattened θ; got "
            f"{int(wrong[0]) if len(wrong) else 'none'}"
        )
    return chosen


def _warn_of_bound(problem: Problem, upper: RankBound, columns: int) -> None:
    """Say early that no computation can show the full rank."""
    least = upper if upper.value <= columns else RankBound(columns, "columns")
    if least.value < problem.num_rows:
        warnings.warn(
            f"the factor cannot be shown to have full row rank: of its {problem.num_rows} rows "
            f"at most {least.value} are independent ({least.source})",
            RuntimeWarning,
            stacklevel=level_of_caller(),
        )


def _touched(problem: Problem, columns: Tensor) -> int:
    """Entries of the tensors that hold a column: all of their gradients are made."""
    return _entries(problem, dict(_by_tensor(problem.function.parameters, columns)))


def _samples_at_once(problem: Problem, columns: Tensor) -> int:
    entries = problem.rows_per_sample * _touched(problem, columns)
    most = batch_bytes(problem.function.device, CHUNK_BYTES)
    return min(problem.pool_size, chunk_size(FLOAT64_BYTES * entries, most))


def _groups(problem: Problem, columns: Tensor) -> list[dict[str, Tensor]]:
    """Consecutive tensors whose gradients are made together, and which of their entries count."""
    theta = problem.function.parameters
    most = _GROUP_BYTES // (FLOAT64_BYTES * problem.rows_per_sample * _PROBES)
    groups: list[dict[str, Tensor]] = []
    for name, own in _by_tensor(theta, columns):
        if groups and _entries(problem, groups[-1]) + theta[name].numel() <= most:
            groups[-1][name] = own
        else:
            groups.append({name: own})
    return groups


def _entries(problem: Problem, names: Iterable[str]) -> int:
    return sum(problem.function.parameters[name].numel() for name in names)


def _whitened_rows(
    problem: Problem, columns: Tensor
) -> tuple[Float64[Tensor, "rows k"], Float64[Tensor, " rows"], Grade]:
    """X ≈ W D S T, what its rows are known to, and the grade of that."""
    contrast = problem.likelihood.contrast(problem.logits)
    rows = _rows(problem, contrast, columns)
    warn_of_no_derivative(rows)
    rounding = _rounding(problem, contrast, columns, rows)
    rows[:, rounding.noise] = 0.0
    scale = torch.where(rounding.noise, 0.0, equilibrate_columns_(rows))
    grade: Grade = "verified" if is_verifiable(problem) else "estimated"
    if grade == "verified":
        error = _proven_error(problem, columns, scale)
    else:
        error = rounding.relative * rows.norm(dim=1)
    return rows, whiten_(rows, error, problem.rows_per_sample), grade


def _rows(problem: Problem, contrast: Tensor, columns: Tensor) -> Float64[Tensor, "rows columns"]:
    """The chosen columns of D, some samples at a time."""
    part = chosen_entries(problem, columns)
    height = problem.rows_per_sample
    out = contrast.new_empty(problem.num_rows, len(columns))
    chunks = torch.arange(problem.pool_size).split(_samples_at_once(problem, columns))
    with interruptible("blocks of samples", len(chunks), "nothing is proven yet") as blocks:
        for samples in blocks(chunks):
            first = int(samples[0]) * height
            block = jacobian_rows(part, contrast, samples=samples)
            out[first : first + len(block)] = block
    check_rows(part, out, 0)
    return out


def _rounding(problem: Problem, contrast: Tensor, columns: Tensor, rows: Tensor) -> Rounding:
    """Estimated rounding of the rows, a group of tensors at a time, and columns of noise."""
    peak = rows.abs().amax(dim=1).view(problem.pool_size, -1)
    found: Rounding | None = None
    start = 0
    groups = _groups(problem, columns)
    with interruptible("groups of tensors", len(groups), "nothing is proven yet") as shown:
        for group in shown(groups):
            stop = start + sum(map(len, group.values()))
            part = chosen_entries(problem, columns[start:stop])
            own = estimate_rounding(
                part, contrast, rows[:, start:stop], largest=lambda chosen: peak[chosen].flatten()
            )
            found = own if found is None else found.beside(own)
            start = stop
    assert found is not None  # there is a column
    return found


def _proven_error(
    problem: Problem, columns: Tensor, scale: Float64[Tensor, " columns"]
) -> Float64[Tensor, " rows"]:
    """A bound on the norm of the error of each row of D S T: other columns are scaled by 0."""
    function = problem.function
    held = {name: function.parameters[name] for name, _ in _by_tensor(function.parameters, columns)}
    constants = {**function.constants, **function.parameters}
    part = replace(problem, function=replace(function, parameters=held, constants=constants))
    whole = scale.new_zeros(problem.num_parameters)
    whole[columns] = scale
    sizes = [tensor.numel() for tensor in function.parameters.values()]
    own = dict(zip(function.parameters, whole.split(sizes), strict=True))
    touched = torch.cat([own[name] for name in held])
    return proven_row_error(part, Scales(scale.new_ones(problem.num_rows), touched))


def whiten_(
    rows: Float64[Tensor, "rows k"], row_error: Float64[Tensor, " rows"], height: int
) -> Float64[Tensor, " rows"]:
    """X = fl(W rows) in place, W lower triangles that make each sample's rows nearly orthonormal.

    Returns bounds on ‖X_j − (W (rows + E))_j‖ where ‖E_j‖ ≤ row_error_j: these floats W are exact
    as they are, so that only E and the product count.
    """
    k = rows.shape[1]
    lost = (2 + height) * k**0.5 * _VANISHED  # in scaling the columns, and in the product
    out = torch.empty_like(row_error)
    for start in range(0, len(rows), height):
        block = rows[start : start + height]
        known = row_error[start : start + height]
        transform = whitening(block)
        known = known + gamma(height) * block.norm(dim=1) + lost
        out[start : start + height] = transform.abs() @ known + lost
        rows[start : start + height] = transform @ block
    return out * (1 + gamma(8 * (k + height) + 16))


def whitening(block: Float64[Tensor, "height k"]) -> Float64[Tensor, "height height"]:
    """About L⁻¹ of block = L Qᵀ, finite for any block.

    A row of which half the digits or more lie in the span of those above is taken from no row
    below: what is left of it may be noise.
    """
    height, k = block.shape
    factor = torch.linalg.qr(block.mT, mode="r").R
    if k < height:  # no more than k rows are independent
        factor = torch.cat([factor, factor.new_zeros(height - k, height)])
    size = factor.norm(dim=0)
    diagonal = factor.diagonal().clone()
    factor[diagonal.abs() < _HALF_THE_DIGITS * size] = 0.0
    floor = torch.where(size > 0, UNIT * size, 1.0)
    factor.diagonal().copy_(torch.where(diagonal.abs() < floor, floor, diagonal))
    return invert_triangle(factor, upper=True).mT.contiguous()
