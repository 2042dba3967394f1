"""The regulariser of equation (12), ρ·IGS, as a scalar to be added to the loss.

Jang, Lee, Park, Noh (NeurIPS 2022). With F = AᵀA/N_F, A the reduced factor, g = vᵀA and λ ≥ 0,

    g (F + λ)⁺ gᵀ = N_F · max_x q(x, θ),    q = 2 v·A x − ‖A x‖² − N_F λ ‖x‖².

The maximiser x is computed without a graph, by orthogonal factorisations of A in float64, and then
q is differentiated with x held fixed. At x, with y = A x and r = v − y fixed as well,

    ∂q = 2 y·∂v + 2 r·(∂A) x,

so that only v(θ) and r·A(θ)x need a graph. y and r are projections, as exact as v; A x evaluated
afresh would carry the rounding of a long x a second time.

Since q(x, ·) ≤ max_x q everywhere and they are equal at θ, the gradients of the two are equal
wherever the IGS is differentiable, whichever of several maximisers x is. It is so where the rank
of A is constant nearby. Where the rank is smaller than at points nearby, the IGS jumps upwards, and
this is the gradient of the minorant q(x, ·): it knows nothing of the directions of A that appear.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, SupportsIndex, Unpack

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from igsref.arguments import check_model, checked_integer, checked_positive
from igsref.curvature.factor import differences, reduced_factor, scaled_root
from igsref.flat import flatten
from igsref.geometry.checks import check_rows, warn_of_no_derivative
from igsref.geometry.cut import estimated_row_error
from igsref.jacobian.fallback import is_out_of_memory
from igsref.jacobian.rounding import estimate_rounding
from igsref.linalg.equilibrate import equilibrate_
from igsref.linalg.orthogonal import graded_qr, pivoted_qr
from igsref.linalg.products import random_signs, seeded
from igsref.linalg.range import apply_blocks
from igsref.measures.sharpness.neighbourhood import checked_allowance
from igsref.memory import FLOAT64_BYTES, check_budget, require_memory
from igsref.problem import Problem, ProblemOptions, as_problem

_COPIES = 6
"""Of the factor: itself and two factorisations of it; directions of its size, and gradients along
them. And of the right-hand sides, one for each sample: their coordinates, x, y and r."""


def exact_igs_penalty(
    model: nn.Module,
    data: Any,
    rho: float = 1e-2,
    *,
    probes: SupportsIndex | None = None,
    seed: int = 0,
    ridge: float = 0.0,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Float[Tensor, ""]:
    """ρ·IGS of a small network, differentiable once in its parameters: equation (12).

    model: in float32 or float64, its outputs a function of each input alone, so in evaluation mode
        where it has BatchNorm or dropout; the gradient goes to its own parameters. Computed is in
        float64 throughout. A second derivative raises RuntimeError: x below would have to move.
    data, options: as for :func:`igsref.exact_igs`; ``fisher_data`` is a pool for F.
    probes: instead of one right-hand side for each sample, so many sums Σ_i z_i v_i with random
        signs z: value and gradient are then unbiased estimates. seed: of the signs; the number of
        the step, say, so that each step draws anew.
    ridge: λ. Above 0 it is ρ/N Σ g_i (F + λ)⁻¹ g_iᵀ instead: as smooth as the network, and not
        invariant under changes of parameters.
    memory: budget in bytes.

    Without a ridge the rank is decided as in ``exact_igs``. Where A has full row rank the gradient
    is that of the ceiling, Σ_i expm1(l_i). The gradient grows with 1/σ of the smallest singular
    value kept.

    Costs the N_F·R × m factor and its QR, 2 N_F R m min(N_F R, m) operations (an SVD with a ridge),
    then min(k, R) backward passes of each input and one through them, k the number of probes or N;
    k where the model cannot be vmapped. Memory: a few times the factor.

    Raises TypeError or ValueError that names the argument, as for a model whose output depends on
    chance or on other samples; MemoryError, with the sizes.
    """
    check_model(model)
    weight = checked_positive("rho", rho)
    damping = checked_allowance("ridge", ridge)
    problem = as_problem(model, data, **options)
    _require_memory(problem, memory)
    mixtures = _mixtures(problem, probes, seed)
    sides = _right_hand_sides(problem, mixtures)
    solution = _damped(problem, sides, damping) if damping else _undamped(problem, sides)
    own = dict(model.named_parameters())
    theta = {n: _Once.apply(own[n].to(value)) for n, value in problem.function.parameters.items()}
    value = (sides * solution.image).sum()
    if torch.is_grad_enabled():
        slope = _with_gradient(problem, theta, mixtures, sides - solution.image, solution)
        value = value + slope - slope.detach()
    dtype = own[next(iter(theta))].dtype
    return (weight * problem.weight * value).to(dtype)


class _Once(torch.autograd.Function):
    """The identity, whose derivative has no derivative: one would be wrong without that of x."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor) -> Tensor:
        return theta.view_as(theta)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Refused.apply(gradient)


class _Refused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise RuntimeError(
            "exact_igs_penalty is differentiable once; for a penalty on its gradient take a "
            "difference of gradients, as igsref.training.GR does"
        )


@dataclass(frozen=True, eq=False)
class _Solution:
    """x that maximises q for each right-hand side, and A x."""

    x: Float64[Tensor, "params k"]
    image: Float64[Tensor, "rows k"]


def _require_memory(problem: Problem, memory: int | None) -> None:
    rows, columns = problem.num_rows, problem.num_parameters
    require_memory(
        FLOAT64_BYTES * _COPIES * rows * (columns + problem.num_samples),
        check_budget(memory, problem.function.device),
        f"a gradient of the exact IGS of {rows} rows × {columns} parameters",
        "give a batch of the data, or choose fewer parameters with parameters='…'",
    )


def _mixtures(
    problem: Problem, probes: SupportsIndex | None, seed: int
) -> Float64[Tensor, "k samples"]:
    """Z with E ZᵀZ = I: Σ_k ‖P Σ_i Z_ki v_i‖² is the IGS, or its estimate."""
    samples = problem.num_samples
    if probes is None:
        return torch.eye(samples).to(problem.logits)
    count = checked_integer("probes", probes, least=1)
    signs = random_signs(seeded(seed), samples, count).mT
    return signs.to(problem.logits) / count**0.5


def _right_hand_sides(
    problem: Problem, mixtures: Float64[Tensor, "k samples"]
) -> Float64[Tensor, "rows k"]:
    residuals = problem.residuals()
    columns = residuals.new_zeros(len(mixtures), problem.pool_size, residuals.shape[1])
    columns[:, problem.members] = mixtures[:, :, None] * residuals
    return columns.flatten(1).mT


def _undamped(problem: Problem, sides: Float64[Tensor, "rows k"]) -> _Solution:
    """y = P v and a basic solution x of A x = y, by the steps of ``find_range``.

    With D scaled by S and C: S D C_Π = U R and Lᵀ S⁻¹ U Π' = Q T give A C_Π = Q T Π'ᵀ R.
    """
    matrix = differences(problem)
    check_rows(problem, matrix, 0)
    warn_of_no_derivative(matrix)
    rounding = estimate_rounding(problem, problem.likelihood.contrast(problem.logits), matrix)
    matrix[:, rounding.noise] = 0.0
    scales = equilibrate_(matrix)
    cut = float(estimated_row_error(rounding.relative, matrix).norm())
    inner, outer, pivots = pivoted_qr(matrix)
    rank = int((outer.diagonal().abs() > cut).sum())
    own = apply_blocks(scaled_root(problem, scales.rows), inner[:, :rank].contiguous())
    basis, triangle, order = graded_qr(own)
    coordinates = basis.mT @ sides
    between = torch.empty_like(coordinates)
    between[order] = torch.linalg.solve_triangular(triangle, coordinates, upper=True)
    x = sides.new_zeros(problem.num_parameters, sides.shape[1])
    chosen = pivots[:rank]
    x[chosen] = torch.linalg.solve_triangular(outer[:rank, :rank], between, upper=True)
    full = rank == problem.num_rows
    return _Solution(scales.columns[:, None] * x, sides if full else basis @ coordinates)


def _damped(problem: Problem, sides: Float64[Tensor, "rows k"], ridge: float) -> _Solution:
    """x = (AᵀA + N_F λ)⁻¹ Aᵀ v and A x, by the SVD of A."""
    factor = reduced_factor(problem)
    check_rows(problem, factor, 0)
    left, sigma, right = torch.linalg.svd(factor, full_matrices=False)
    inverse = 1 / (sigma.square() + problem.pool_size * ridge)
    coordinates = left.mT @ sides
    x = right.mT @ ((sigma * inverse)[:, None] * coordinates)
    return _Solution(x, left @ ((sigma.square() * inverse)[:, None] * coordinates))


def _with_gradient(
    problem: Problem,
    theta: Mapping[str, Tensor],
    mixtures: Float64[Tensor, "k samples"],
    missing: Float64[Tensor, "rows k"],
    solution: _Solution,
) -> Float64[Tensor, ""]:
    """2 Σ_k (y_k·v_k(θ) + r_k·A(θ)x_k), y, r (``missing``) and x fixed."""
    likelihood = problem.likelihood
    shape = (problem.pool_size, problem.rows_per_sample)
    y, r = (columns.mT.unflatten(1, shape) for columns in (solution.image, missing))
    with _derivative_rules():
        logits = problem.function.call(theta, *problem.samples.inputs(slice(None)))
        residuals = likelihood.residual(logits[problem.members], problem.targets)
        slope = torch.einsum("kn,knr,nr->", mixtures, y[:, problem.members], residuals)
        if bool(r.any()):
            root = likelihood.root(logits) @ likelihood.contrast(logits)
            slope = slope + _moved(problem, theta, logits, root, r, solution.x)
    return 2 * slope


def _moved(
    problem: Problem,
    theta: Mapping[str, Tensor],
    logits: Float64[Tensor, "pool classes"],
    root: Float64[Tensor, "pool height classes"],
    r: Float64[Tensor, "k pool height"],
    x: Float64[Tensor, "params k"],
) -> Float64[Tensor, ""]:
    """Σ_k r_k·A(θ)x_k, or what has the same gradient, with as few products as may be."""
    if len(r) <= r.shape[2]:
        return _by_columns(theta, logits, root, r, x)
    try:
        slopes = _by_rows(problem, torch.einsum("knr,mk->nrm", r, x))
    except Exception as error:  # the other way has the last word
        if is_out_of_memory(error):
            raise
        return _by_columns(theta, logits, root, r, x)
    return torch.stack([(slopes[name] * value).sum() for name, value in theta.items()]).sum()


def _by_rows(
    problem: Problem, directions: Float64[Tensor, "pool height params"]
) -> dict[str, Float64[Tensor, "..."]]:
    """The gradient of Σ_nr (row r of A_n(θ))·(its direction Σ_k r_knr x_k).

    vmap goes outside of both derivatives. A derivative of vmapped ones would be wrong in silence:
    vmap takes the backward pass of LayerNorm apart and its mean and variance for constants.
    """
    likelihood, height = problem.likelihood, problem.rows_per_sample
    theta = problem.function.parameters
    unit = torch.eye(height).to(directions)

    def of_row(
        theta: dict[str, Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        contrast: Tensor,
        row: Tensor,
        d: Tensor,
    ) -> Tensor:
        def logits(values: dict[str, Tensor]) -> Tensor:
            single = {key: value[None] for key, value in kwargs.items()}
            return problem.function.call(values, tuple(v[None] for v in args), single)

        pair = torch.func.vjp(logits, theta)
        cotangent = row @ likelihood.root(pair[0])[0] @ contrast
        return flatten(pair[1](cotangent[None])[0]) @ d

    def of_sample(
        args: tuple[Any, ...], kwargs: dict[str, Any], contrast: Tensor, d: Tensor
    ) -> dict[str, Tensor]:
        slopes = torch.func.vmap(torch.func.grad(of_row), in_dims=(None, None, None, None, 0, 0))
        rows = slopes(theta, args, kwargs, contrast, unit, d)
        return {name: value.sum(dim=0) for name, value in rows.items()}

    args, kwargs = problem.samples.inputs(slice(None))
    contrasts = likelihood.contrast(problem.logits)
    found = torch.func.vmap(of_sample)(args, kwargs, contrasts, directions)
    return {name: value.sum(dim=0) for name, value in found.items()}


def _by_columns(
    theta: Mapping[str, Tensor],
    logits: Float64[Tensor, "pool classes"],
    root: Float64[Tensor, "pool height classes"],
    r: Float64[Tensor, "k pool height"],
    x: Float64[Tensor, "params k"],
) -> Float64[Tensor, ""]:
    """x_k·Aᵀ r_k, one backward pass of all inputs for each k."""
    leaves = list(theta.values())
    terms = []
    for cotangent, column in zip(torch.einsum("knr,nrc->knc", r, root), x.mT, strict=True):
        pulled = torch.autograd.grad(
            logits, leaves, cotangent, create_graph=True, materialize_grads=True
        )
        terms.append(flatten(dict(zip(theta, pulled, strict=True))) @ column)
    return torch.stack(terms).sum()


@contextmanager
def _derivative_rules() -> Iterator[None]:
    """Attention in the form that has second derivatives; no advice on slow operations."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield
