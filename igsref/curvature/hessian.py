"""The dense Hessian of the training loss, H = ∂²L/∂θ², L(θ) = (1/N) Σ l_i.

Exact, by reverse mode over reverse mode in float64: row j of H is the vector-Jacobian product of
θ ↦ ∂L/∂θ with the cotangent e_j. The loss is that of the labelled samples; a pool of inputs for F
has no part in it.

Where the network is not twice differentiable H is what torch's conventions make of it. The first
derivative of ReLU is 0 at 0, the second is 0 everywhere, so that H is the Hessian of the piece on
which the network stands, whatever its kinks nearby do.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from igsref.curvature.loss import loss_of_vector, parameter_vector
from igsref.flat import ranges
from igsref.jacobian.rows import level_of_caller
from igsref.memory import FLOAT64_BYTES, check_budget, require_memory
from igsref.problem import Problem
from igsref.randomness import preserved_random_state

_CHUNK_BYTES = 2**26
_LARGEST_CHUNK = 256
_MATRICES = 4
"""H, and what symmetrising it, or scaling it and asking for its eigenvalues, takes beside it."""
_PASSES = 4
"""Tensors of the size of an activation that are alive at once in the derivative of a derivative."""
_LARGEST_ASYMMETRY = 2.0**-26
"""√eps: rounding stays far below this share of max |H|, what is no Hessian far above."""

_known: WeakKeyDictionary[Problem, dict[str | None, Tensor]] = WeakKeyDictionary()
"""The Hessians of a problem: None → the whole one, the name of a tensor → its diagonal block."""


def hessian(problem: Problem, memory: int | None = None) -> Float64[Tensor, "params params"]:
    """H = ∂²L/∂θ² of the mean loss, (m, m) in θ's order, symmetric.

    memory: budget in bytes (what is free unless given).

    A problem's Hessian is computed once and kept for as long as the problem lives: several
    measures share it. It is the same tensor every time, not to be written into.

    Raises MemoryError, with the sizes, before anything is allocated; ArithmeticError where second
    derivatives are not finite, or not symmetric (a model may define its own derivatives, and those
    of no function). Warns with RuntimeWarning where vmap refuses the model, and one row at a time
    is computed instead.

    >>> from igsref import as_problem
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> data = (torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [0.0]]))
    >>> hessian(as_problem(model, data, likelihood="gaussian"))  # the mean of x²
    tensor([[5.]], dtype=torch.float64)
    """
    budget = check_budget(memory, problem.function.device)
    found = _known.setdefault(problem, {})
    if None not in found:
        found[None] = _computed(problem, budget)
    return found[None]


def hessian_block(
    problem: Problem, name: str, memory: int | None = None
) -> Float64[Tensor, "size size"]:
    """The diagonal block of H that belongs to one tensor of θ, its entries in row-major order.

    Taken out of the whole Hessian where the problem has it, else computed and kept on its own,
    at the cost of that tensor alone. memory, errors and warnings as for :func:`hessian`.

    Raises KeyError for a name that θ does not have.
    """
    budget = check_budget(memory, problem.function.device)
    place = ranges(problem.function.parameters)[name]
    found = _known.setdefault(problem, {})
    if None in found:
        return found[None][place, place]
    if name not in found:
        found[name] = _computed(_restricted(problem, name), budget)
    return found[name]


def _restricted(problem: Problem, name: str) -> Problem:
    """The same network with one tensor for its θ, all others constants."""
    function = problem.function
    constants = {**function.constants, **function.parameters}
    kept = {name: constants.pop(name)}
    return replace(problem, function=replace(function, parameters=kept, constants=constants))


def _computed(problem: Problem, budget: int) -> Float64[Tensor, "params params"]:
    m = problem.num_parameters
    with preserved_random_state(), _second_derivatives():
        per_row = _bytes_per_row(problem)
        height = max(1, min(m, _LARGEST_CHUNK, _CHUNK_BYTES // per_row))
        require_memory(
            _MATRICES * FLOAT64_BYTES * m * m + height * per_row,
            budget,
            f"the dense Hessian of {m} × {m} entries, {height} rows at once,",
            "choose fewer samples, or fewer parameters with parameters='…'",
        )
        out = _rows(problem, height)
    _check_finite(out)
    return _symmetric(out)


def _bytes_per_row(problem: Problem) -> int:
    """What a row takes on its way: itself, and what both passes back through the samples hold."""
    activations = problem.num_samples * _saved_per_sample(problem)
    return FLOAT64_BYTES * (problem.num_parameters + _PASSES * activations)


def _saved_per_sample(problem: Problem) -> int:
    """Entries that a forward pass of one sample keeps for the way back, without θ itself."""
    values = {**problem.function.constants, **problem.function.parameters}
    known = {value.untyped_storage().data_ptr() for value in values.values()}
    sizes: list[int] = []

    def kept(value: Tensor) -> Tensor:
        if value.untyped_storage().data_ptr() not in known:
            sizes.append(value.numel())
        return value

    theta = {k: v.detach().requires_grad_(True) for k, v in problem.function.parameters.items()}
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(kept, lambda value: value):
        problem.function.call(theta, *problem.samples.inputs(slice(0, 1)))
    return max(sum(sizes), problem.num_classes)


@contextmanager
def _second_derivatives() -> Iterator[None]:
    """Attention in the one form that has second derivatives; no advice on what vmap batches."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield


def _rows(problem: Problem, height: int) -> Float64[Tensor, "params params"]:
    """All rows, by vmap if the model lets it."""
    try:
        return _batched_rows(problem, height)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever it is, the loop has the last word
        out = _looped_rows(problem)
        _warn_of_loop(error)
        return out


def _batched_rows(problem: Problem, height: int) -> Float64[Tensor, "params params"]:
    theta = parameter_vector(problem)
    gradient: Callable[[Tensor], Tensor] = torch.func.grad(loss_of_vector(problem))
    pull_back = torch.func.vjp(gradient, theta)[1]
    out = theta.new_empty(len(theta), len(theta))
    for start in range(0, len(theta), height):
        rows = out[start : start + height]
        cotangents = torch.zeros_like(rows)
        cotangents.diagonal(start).fill_(1.0)
        rows.copy_(torch.func.vmap(pull_back)(cotangents)[0].detach())
    return out


def _looped_rows(problem: Problem) -> Float64[Tensor, "params params"]:
    """The same by plain autograd, one row after the other."""
    theta = parameter_vector(problem).requires_grad_(True)
    with torch.enable_grad():
        loss = loss_of_vector(problem)(theta)
        (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
    out = torch.zeros(len(theta), len(theta)).to(theta.detach())
    for row, entry in zip(out, gradient, strict=True):
        (found,) = torch.autograd.grad(entry, theta, retain_graph=True, materialize_grads=True)
        row.copy_(found)
    return out


def _warn_of_loop(error: Exception) -> None:
    reason = str(error).strip().splitlines()
    warnings.warn(
        "model's second derivatives cannot be vmapped; computing one row of the Hessian at a time, "
        "with the same result but slower "
        f"({type(error).__name__}: {reason[0][:200] if reason else 'no message'})",
        RuntimeWarning,
        stacklevel=level_of_caller(),
    )


def _check_finite(matrix: Float64[Tensor, "params params"]) -> None:
    bad = int((~torch.isfinite(matrix)).sum())
    if bad:
        raise ArithmeticError(
            f"second derivatives must be finite; {bad} of {matrix.numel()} are not. Do they "
            "overflow float64, or divide by 0?"
        )


def _symmetric(matrix: Float64[Tensor, "params params"]) -> Float64[Tensor, "params params"]:
    """(H + Hᵀ)/2 where the two agree to rounding."""
    difference = float((matrix - matrix.mT).abs().max())
    largest = float(matrix.abs().max())
    if difference > _LARGEST_ASYMMETRY * largest:
        raise ArithmeticError(
            f"second derivatives must be symmetric; ∂²L/∂θ_j∂θ_k and ∂²L/∂θ_k∂θ_j differ by up to "
            f"{difference:.3g} where the largest is {largest:.3g}. Does the model define its own "
            "derivatives?"
        )
    return (matrix + matrix.mT) / 2
