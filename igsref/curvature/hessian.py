"""The dense Hessian of the training loss, H = ∂²L/∂θ², L(θ) = (1/N) Σ l_i.

Exact, by reverse mode over reverse mode in float64: row j of H is the vector-Jacobian product of
θ ↦ ∂L/∂θ with the cotangent e_j. The loss is that of the labelled samples; a pool of inputs for F
has no part in it.

Where the network is not twice differentiable H is what torch's conventions make of it. The first
derivative of ReLU is 0 at 0, the second is 0 everywhere, so that H is the Hessian of the piece on
which the network stands, whatever its kinks nearby do.

An operation may bring a second derivative of its own that is wrong. Each Hessian is therefore held
against differences of the gradient, H·u ≈ (∇L(θ + tu) − ∇L(θ))/t, along a random direction u.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from typing import Any, Unpack
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from igsref.curvature.loss import loss_of_vector, parameter_vector
from igsref.flat import ranges, unflatten
from igsref.jacobian.rows import level_of_caller
from igsref.memory import FLOAT64_BYTES, check_budget, require_memory
from igsref.problem import Problem, ProblemOptions, as_problem
from igsref.randomness import preserved_random_state

_CHUNK_BYTES = 2**26
_LARGEST_CHUNK = 256
_MATRICES = 4
"""H, and what symmetrising it, or scaling it and asking for its eigenvalues, takes beside it."""
_PASSES = 4
"""Tensors of the size of an activation that are alive at once in the derivative of a derivative."""
_LARGEST_ASYMMETRY = 2.0**-26
"""√eps: rounding stays far below this share of max |H|, what is no Hessian far above."""
_STEPS = (2.0**-17, -(2.0**-17), 2.0**-23, -(2.0**-23))
"""eps^(1/3) and much less, relative to the size of each parameter, to both sides."""
_LARGEST_ERROR = 1e-3
"""Of H·u against a difference: truncation is some t, 1e-5, and rounding eps/t, 1e-9."""
_NEGLIGIBLE = 1e-6
"""A tensor's error below this share of H·u and ∇L as a whole may be their rounding."""
_DIRECTIONS = 2

_known: WeakKeyDictionary[Problem, dict[str | None, Tensor]] = WeakKeyDictionary()
"""The Hessians of a problem: None → the whole one, the name of a tensor → its diagonal block."""


def hessian(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Float64[Tensor, "params params"]:
    """H = ∂²L/∂θ² of the mean loss, (m, m) in θ's order, symmetric.

    memory: budget in bytes (what is free unless given).
    options: as for :func:`igsref.as_problem`; a Problem or Geometry may stand for (model, data).

    A problem's Hessian is computed once and kept for as long as the problem lives: several
    measures share it. It is the same tensor every time, not to be written into.

    Raises MemoryError, with the sizes, before anything is allocated; ArithmeticError where second
    derivatives are not finite, not symmetric, or not those of the gradient (a model may define its
    own derivatives, and those of no function; torch's own weight_norm, which has wrong second
    derivatives, is replaced by its formula). The last is tried along random directions, and a
    Hessian passes where the gradient's differences do not agree among themselves, as at a kink.
    Warns with RuntimeWarning where vmap refuses the model, and one row at a time is computed
    instead.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> data = (torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [0.0]]))
    >>> hessian(model, data, likelihood="gaussian")  # the mean of x²
    tensor([[5.]], dtype=torch.float64)
    """
    problem = as_problem(model, data, **options)
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
    with preserved_random_state(), second_derivative_rules():
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
        out = _symmetric(out)
        _check_differences(problem, out)
    return out


def _bytes_per_row(problem: Problem) -> int:
    """What a row takes on its way: itself, and what both passes back through the samples hold."""
    activations = problem.num_samples * saved_per_sample(problem)
    return FLOAT64_BYTES * (problem.num_parameters + _PASSES * activations)


def saved_per_sample(problem: Problem) -> int:
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
def second_derivative_rules() -> Iterator[None]:
    """Operations in the form that has second derivatives; no advice on what vmap batches."""
    with sdpa_kernel(SDPBackend.MATH), _WeightNormFormula(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield


class _WeightNormFormula(TorchFunctionMode):
    """v·(g/‖v‖), norms over all axes but one, in place of ``torch._weight_norm``.

    The derivative of that operation's derivative takes ‖v‖ for a constant.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch._weight_norm:
            return _weight_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


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


def _check_differences(problem: Problem, matrix: Float64[Tensor, "params params"]) -> None:
    """Refuse H where differences of the gradient agree with one another, and not with H·u.

    Where a kink lies within a step, truncation is large, or rounding is, the differences of
    several steps to both sides are far from each other too, and say nothing.
    """
    generator = torch.Generator().manual_seed(0)
    scale, theta = _sizes(problem), parameter_vector(problem)
    start, noise = _gradient(problem, theta), _gradient_rounding(problem, theta, generator)
    suspects = ranges(problem.function.parameters)
    share = 0.0
    for _ in range(_DIRECTIONS):
        u = scale * torch.randn(len(scale), generator=generator, dtype=torch.float64).to(scale)
        expected = scale * (matrix @ u)
        least = _NEGLIGIBLE * (expected.norm() + (scale * start).norm())
        errors: list[Tensor] = []
        for step in _STEPS:
            moved = _gradient(problem, theta + step * u)
            errors.append(scale * (moved - start) / step - expected)
            rounding = scale * noise / abs(step)
            suspects = {
                name: place
                for name, place in suspects.items()
                if _contradicted(
                    expected[place],
                    [error[place] for error in errors],
                    least + rounding[place].norm(),
                )
            }
            if not suspects:
                return
        place = next(iter(suspects.values()))
        share = float(errors[0][place].norm() / expected[place].norm())
    raise ArithmeticError(
        "second derivatives must be those of the gradient; by differences of the gradient, H·u is "
        f"another along random u, for {next(iter(suspects))} by {share:.3g} of its size. Does the "
        "model use an operation whose own second derivative is wrong?"
    )


def _contradicted(expected: Tensor, errors: list[Tensor], least: Tensor) -> bool:
    """Every difference is far from H·u, and none far from another."""
    sizes = [float(error.norm()) for error in errors]
    allowed = [
        float(least + _LARGEST_ERROR * (expected.norm() + (expected + error).norm()))
        for error in errors
    ]
    far = all(size > most for size, most in zip(sizes, allowed, strict=True))
    return far and all(
        float((one - other).norm()) < min(sizes) / 2 for one, other in combinations(errors, 2)
    )


def _sizes(problem: Problem) -> Float64[Tensor, " params"]:
    """|θ_k|, and the least there is for those that are 0: nodes may be scaled one by one."""
    sizes = parameter_vector(problem).abs()
    positive = sizes[sizes > 0]
    least = positive.min() if len(positive) else torch.ones(()).to(sizes)
    return torch.where(sizes > 0, sizes, least)


def _gradient_rounding(
    problem: Problem, theta: Float64[Tensor, " params"], generator: torch.Generator
) -> Float64[Tensor, " params"]:
    """Rounding of ∇L = (1/N) Σ_i J_iᵀ ∂l_i/∂f_i, some eps(1 + |f| + |y|) in each ∂l_i/∂f_ic.

    Random signs σ in place of it: √N |Jᵀσ|/N has the size of a sum that no cancellation made small.
    """
    flat = theta.detach().requires_grad_(True)
    args, kwargs = problem.samples.inputs(problem.members.cpu())
    with torch.enable_grad():
        values = unflatten(flat, problem.function.parameters)
        logits = problem.function.call(values, args, kwargs)
    if not logits.requires_grad:
        return torch.zeros_like(theta)
    signs = torch.randn(logits.shape, generator=generator, dtype=torch.float64).sign()
    (sums,) = torch.autograd.grad(logits, flat, signs.to(logits), materialize_grads=True)
    size = 1 + float(logits.detach().abs().max()) + float(problem.targets.abs().max())
    return 8 * torch.finfo(torch.float64).eps * size * sums.abs() / len(logits) ** 0.5


def _gradient(problem: Problem, theta: Float64[Tensor, " params"]) -> Float64[Tensor, " params"]:
    """∇L by plain autograd, which takes every model."""
    theta = theta.detach().requires_grad_(True)
    with torch.enable_grad():
        loss = loss_of_vector(problem)(theta)
    if not loss.requires_grad:
        return torch.zeros_like(theta)
    return torch.autograd.grad(loss, theta, materialize_grads=True)[0]
