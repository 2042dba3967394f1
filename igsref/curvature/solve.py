"""F x = g without F."""

from typing import Any, SupportsIndex, Unpack

from jaxtyping import Float64
from torch import Tensor

from igsref.arguments import check_tensor, checked_integer, checked_positive, described
from igsref.curvature.operators import FactorOperator, factor_operator
from igsref.curvature.products import counted, fisher_product, product_bytes
from igsref.linalg.cg import (
    Solution,
    check_damping,
    check_right_hand_side,
    conjugate_gradient,
    iterate_vectors,
)
from igsref.memory import FLOAT64_BYTES, check_budget, require_memory
from igsref.problem import Problem, ProblemOptions, as_problem


def fisher_solve(
    model: Any,
    data: Any = None,
    right_hand_side: Tensor | None = None,
    *,
    tolerance: float = 1e-6,
    max_iterations: SupportsIndex = 500,
    damping: float = 0.0,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Solution:
    """(F + δ I) x = g by conjugate gradients (Hestenes & Stiefel 1952); matrix-free.

    F is singular as a rule, and has eigenvalues down to rounding, so that the last digits take
    very many steps. Every iterate is good for a bound from below all the same: ``lower`` ≤ gᵀF⁺g
    for g in range F. For the full-batch gradient ḡ, which lies in it, that is ḡᵀF⁺ḡ, ``full_batch``
    of :func:`igsref.exact_igs`, whatever δ is. A g from elsewhere, such as other data, need not:
    that may be found out or not ("not in range" or "iterations", with residuals above ‖g‖), and
    ``lower`` is no bound then; with δ > 0 nothing is found out, and it is NaN. Derivatives are
    taken in float64: a bound is of no use without.

    right_hand_side: g, (m, k), in θ's order; ḡ = ∂L/∂θ of the mean loss unless given, (m, 1).
    tolerance: columns are wanted to ‖g − F x − δ x‖ ≤ tolerance · ‖g‖.
    max_iterations: of each column. damping: δ ≥ 0, in the units of F's eigenvalues.
    memory: budget in bytes, what is free unless given; some 20 vectors of length m are held for
        each column. options: as for :func:`igsref.as_problem`.

    Returns a :class:`igsref.linalg.cg.Solution`: x, residuals by fresh products, ``lower``, and
    why each column ended, "converged", "stagnated", "not in range" or "iterations". For L in nats
    and θ without a unit, x has none and ``lower`` is in nats.

    Raises TypeError or ValueError that names the argument; MemoryError, with the sizes, before
    any product; ArithmeticError where products do not go with a semi-definite F.
    """
    checked_positive("tolerance", tolerance)
    checked_integer("max_iterations", max_iterations, least=1)
    check_damping(damping)
    problem = as_problem(model, data, **options)
    g = None if right_hand_side is None else _checked(right_hand_side, problem)
    k = 1 if g is None else g.shape[1]
    m = problem.num_parameters
    require_memory(
        FLOAT64_BYTES * m * iterate_vectors(k) + product_bytes(problem, k),
        check_budget(memory, problem.function.device),
        f"conjugate gradients with {k} columns of {m} parameters",
        "choose fewer columns, or fewer parameters with parameters='…'",
    )
    operator = factor_operator(problem, width=k)
    with counted(fisher_product(operator), "products") as shown:
        return conjugate_gradient(
            shown,
            _gradient(operator) if g is None else g,
            tolerance=tolerance,
            max_iterations=max_iterations,
            damping=damping,
            in_range=g is None,
        )


def _checked(right_hand_side: Tensor, problem: Problem) -> Float64[Tensor, "params k"]:
    """The right-hand sides in float64, where the problem is."""
    name, m = "right_hand_side", problem.num_parameters
    check_tensor(name, right_hand_side)
    check_right_hand_side(right_hand_side)
    if right_hand_side.ndim != 2 or len(right_hand_side) != m or right_hand_side.shape[1] < 1:
        raise ValueError(
            f"{name} must have shape (m, k), here ({m}, k), k ≥ 1; got "
            f"{tuple(right_hand_side.shape)}"
        )
    if not right_hand_side.is_floating_point():
        raise TypeError(f"{name} must hold floats; got {described(right_hand_side)}")
    return right_hand_side.detach().to(problem.logits)


def _gradient(operator: FactorOperator) -> Float64[Tensor, "params 1"]:
    """ḡ = (1/N) Σ_i A_iᵀ v_i, batch by batch and in the range of the operator's own Aᵀ."""
    problem = operator.problem
    residuals = problem.residuals()
    summed = residuals.new_zeros(problem.pool_size, residuals.shape[1])
    summed.index_add_(0, problem.members, residuals)
    return operator.adjoint(summed.view(-1, 1)) / problem.num_samples
