"""A and Aᵀ as linear operators on blocks of vectors: no row of a Jacobian is ever formed.

A = stack of M_i J_i, M_i = L_iᵀK_i the root of the likelihood in contrasts of logits, so that A is
the reduced factor of :mod:`igsref.curvature.factor`: A X by Jacobian-vector products (forward mode,
or the vector-Jacobian product of a vector-Jacobian product where an operation has no forward mode),
Aᵀ U by vector-Jacobian products. Samples come in batches that fit a budget, in the same order every
time, so that sums are the same every time.

Derivatives may be taken in float32; what goes in and comes out is float64, and so are M_i and sums
over batches. Vectors are brought near 1 by powers of two before: M_i of confident samples is below
what float32 can hold.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from igsref.curvature.batches import batch_logits, batch_size, function_in
from igsref.flat import flatten, unflatten
from igsref.jacobian.fallback import is_out_of_memory
from igsref.jacobian.rows import level_of_caller
from igsref.linalg.equilibrate import power_of_two_scale
from igsref.model import LogitFunction
from igsref.precision import full_float32
from igsref.problem import Problem
from igsref.randomness import preserved_random_state

Way = Literal["forward", "forward, one by one", "twice backward"]
"""How A X is computed: forward mode, all columns at once or one after the other; or twice
backwards, one after the other."""

Logits = Callable[[Mapping[str, Tensor]], Tensor]


class OperatorError(ArithmeticError):
    """A and Aᵀ, as the model's derivatives give them, are not each other's adjoint."""


@dataclass(frozen=True, eq=False)
class FactorOperator:
    """The reduced factor A of some samples of a problem's pool, (n, m).

    :func:`factor_operator` makes one.

    samples: which inputs of the pool, in order; n = R times their number. roots: M_i of these,
    (·, R, C), float64. function: θ ↦ logits in the dtype that derivatives are taken in.
    batch: samples at a time. way: how A X is computed. adjoint_error: what
    |⟨A x, u⟩ − ⟨x, Aᵀu⟩| was for a random pair, over ‖A x‖‖u‖ + ‖x‖‖Aᵀu‖.
    """

    problem: Problem
    samples: Int64[Tensor, " samples"]
    roots: Float64[Tensor, "samples rows classes"]
    function: LogitFunction
    batch: int
    way: Way
    adjoint_error: float = math.nan

    @property
    def num_rows(self) -> int:
        """n, rows of these samples."""
        return self.roots.shape[0] * self.roots.shape[1]

    @property
    def num_parameters(self) -> int:
        """m."""
        return self.function.parameter_count

    @property
    def dtype(self) -> torch.dtype:
        """What derivatives are taken in."""
        return next(iter(self.function.parameters.values())).dtype

    def forward(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "rows k"]:
        """A X."""
        with _derivative_rules():
            return torch.cat([part.push(vectors).flatten(0, 1) for part in self._batches()])

    def adjoint(
        self,
        vectors: Float64[Tensor, "rows k"],
        weights: Float64[Tensor, "samples height height"] | None = None,
    ) -> Float64[Tensor, "params k"]:
        """Aᵀ W U, W block-diagonal (the identity if None)."""
        blocks = vectors.view(len(self.roots), -1, vectors.shape[1])
        out = vectors.new_zeros(self.num_parameters, vectors.shape[1])
        with _derivative_rules():
            for part in self._batches():
                own = blocks[part.place]
                out += part.pull(own if weights is None else weights[part.place] @ own)
        return out

    def normal(
        self,
        vectors: Float64[Tensor, "params k"],
        weights: Float64[Tensor, "samples height height"] | None = None,
    ) -> tuple[Float64[Tensor, "rows k"], Float64[Tensor, "params k"]]:
        """(A X, Aᵀ W A X) in one pass over the samples, W block-diagonal (the identity if None)."""
        out = torch.zeros_like(vectors)
        pushed = []
        with _derivative_rules():
            for part in self._batches():
                found = part.push(vectors)
                pushed.append(found.flatten(0, 1))
                out += part.pull(found if weights is None else weights[part.place] @ found)
        return torch.cat(pushed), out

    def perturbed(self, problem: Problem, relative: float) -> "FactorOperator":
        """The operator of a problem whose θ and inputs were moved a little, roots moved too.

        Each entry of M_i by ``relative`` of itself, up or down at random, the same for a sample
        whichever others are there.
        """
        shape = (self.problem.pool_size, *self.roots.shape[1:])
        generator = torch.Generator().manual_seed(0)
        signs = 2.0 * torch.randint(0, 2, shape, generator=generator)[self.samples] - 1
        roots = self.roots * (1 + relative * signs.to(self.roots))
        return replace(self, problem=problem, function=problem.function, roots=roots)

    def seconds_of_forward(self, columns: int) -> float:
        """What A X of so many columns will take, by the time that its first batch takes."""
        first = self.first_batch()
        vectors = self.roots.new_ones(self.num_parameters, columns)
        began = time.monotonic()
        float(first.forward(vectors).sum())  # which waits for the device
        return (time.monotonic() - began) * len(self.samples) / len(first.samples)

    def first_batch(self) -> "FactorOperator":
        """Of the samples of the first batch alone."""
        batch = min(self.batch, len(self.samples))
        return replace(self, samples=self.samples[:batch], roots=self.roots[:batch], batch=batch)

    def agreed(self, value: float) -> float:
        """The number that all processes go by: here there is one."""
        return value

    def _batches(self) -> Iterator["_Part"]:
        for start in range(0, len(self.roots), self.batch):
            place = slice(start, start + self.batch)
            yield _Part(self, place, self.roots[place])


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of A that belong to one batch of samples."""

    operator: FactorOperator
    place: slice
    roots: Float64[Tensor, "samples rows classes"]

    def push(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "samples rows k"]:
        """M_i J_i X."""
        columns, scales = _near_one(vectors.mT, self.operator.dtype)
        tangents = [unflatten(column, self._theta) for column in columns]
        moved = _PUSH[self.operator.way](self._logits, self._theta, tangents)
        return self.roots @ moved.to(vectors).permute(1, 2, 0) / scales

    def pull(self, blocks: Float64[Tensor, "samples rows k"]) -> Float64[Tensor, "params k"]:
        """Σ_i J_iᵀ M_iᵀ U_i, one column after the other."""
        weighted = (self.roots.mT @ blocks).permute(2, 0, 1)
        cotangents, scales = _near_one(weighted, self.operator.dtype)
        leaves = {name: value.detach().requires_grad_(True) for name, value in self._theta.items()}
        with torch.enable_grad():
            logits = _on_graph(self._logits(leaves), leaves)
        columns = []
        for number, cotangent in enumerate(cotangents):
            columns.append(
                torch.autograd.grad(
                    logits,
                    list(leaves.values()),
                    cotangent,
                    retain_graph=number + 1 < len(cotangents),
                    materialize_grads=True,
                )
            )
        named = [dict(zip(leaves, column, strict=True)) for column in columns]
        return torch.stack([flatten(column) for column in named], dim=1).to(blocks) / scales

    @property
    def _theta(self) -> dict[str, Tensor]:
        return self.operator.function.parameters

    def _logits(self, theta: Mapping[str, Tensor]) -> Tensor:
        operator = self.operator
        return batch_logits(
            operator.problem, operator.function, theta, operator.samples[self.place]
        )


def factor_operator(
    problem: Problem,
    *,
    samples: Int64[Tensor, " samples"] | None = None,
    dtype: torch.dtype = torch.float64,
    width: int = 1,
) -> FactorOperator:
    """The reduced factor of some inputs of a problem's pool as an operator.

    samples: which inputs, in order (all unless given). dtype: what derivatives are taken in.
    width: how many vectors will be multiplied at once; the batch is chosen for that.

    The adjoint is tested on three samples, and so is the way that A X is computed: forward mode
    if the model has it and it passes. The first batch is then tried in full: a device without the
    memory for it gets half of it, with a RuntimeWarning, once.

    Raises OperatorError where no way passes the adjoint test; ValueError for no samples; what the
    model raises where its derivatives cannot be taken.
    """
    everywhere = torch.arange(problem.pool_size)
    chosen = everywhere if samples is None else samples.cpu()
    if not len(chosen):
        raise ValueError("samples must hold at least one input of the pool; got none")
    logits = problem.logits[chosen.to(problem.logits.device)]
    roots = problem.likelihood.root(logits) @ problem.likelihood.contrast(logits)
    batch = batch_size(problem, dtype, 1 + width)  # for the way back, and each vector forward
    operator = FactorOperator(problem, chosen, roots, function_in(problem, dtype), batch, "forward")
    return _fitting(_tested(operator), width)


def _tested(operator: FactorOperator) -> FactorOperator:
    """The operator with the first way whose A X is the adjoint of Aᵀ U, on three samples."""
    reasons = []
    last = len(operator.samples) - 1
    some = torch.tensor(sorted({0, last // 2, last}))
    for way in _PUSH:
        few = replace(
            operator,
            samples=operator.samples[some],
            roots=operator.roots[some.to(operator.roots.device)],
            batch=1,
            way=way,
        )
        try:
            error = adjoint_error(few)
        except Exception as problem:  # another way has another word
            if is_out_of_memory(problem):
                raise
            reasons.append(f"{way}: {type(problem).__name__}: {problem}")
            continue
        if error <= torch.finfo(operator.dtype).eps ** 0.5:
            return replace(operator, way=way, adjoint_error=error)
        reasons.append(f"{way}: ⟨A x, u⟩ and ⟨x, Aᵀu⟩ differ by {error:.1e} of their size")
    raise OperatorError(
        "model's derivatives forwards and backwards must be each other's adjoints. "
        + "; ".join(reasons)
    )


def adjoint_error(operator: FactorOperator, seed: int = 0) -> float:
    """|⟨A x, u⟩ − ⟨x, Aᵀu⟩|/(‖A x‖‖u‖ + ‖x‖‖Aᵀu‖) for random x and u; 0 where both are 0."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(size: int) -> Tensor:
        vector = torch.randn(size, 1, generator=generator, dtype=torch.float64)
        return vector.to(operator.roots)

    x, u = drawn(operator.num_parameters), drawn(operator.num_rows)
    pushed, pulled = operator.forward(x), operator.adjoint(u)
    difference = float(((pushed * u).sum() - (x * pulled).sum()).abs())
    size = float(pushed.norm() * u.norm() + x.norm() * pulled.norm())
    return difference / size if size > 0 else difference


def _fitting(operator: FactorOperator, width: int) -> FactorOperator:
    """The operator with a batch that the device has the memory for, tried once."""
    first = operator.first_batch()
    batch = first.batch
    try:
        first.normal(operator.roots.new_zeros(operator.num_parameters, width))
    except Exception as error:
        if not is_out_of_memory(error) or batch == 1:
            raise
        warnings.warn(
            f"{operator.problem.function.device} has no memory for {batch} samples at a time; "
            f"going on with {batch // 2}",
            RuntimeWarning,
            stacklevel=level_of_caller(),
        )
        batch = batch // 2
    return replace(operator, batch=batch)


def _near_one(vectors: Float64[Tensor, "k ..."], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Each vector in another dtype, its largest entry brought near 1 by a power of two; by what."""
    peaks = vectors.abs().flatten(1).amax(dim=1)
    scales = power_of_two_scale(peaks.clamp(min=torch.finfo(peaks.dtype).tiny))
    return (vectors * scales.view(-1, *[1] * (vectors.ndim - 1))).to(dtype), scales


def _on_graph(logits: Tensor, leaves: Mapping[str, Tensor]) -> Tensor:
    """Logits that autograd can differentiate, by 0 where they do not depend on θ."""
    if logits.requires_grad:
        return logits
    return logits + 0.0 * next(iter(leaves.values())).flatten()[0]


def _forward(
    logits: Logits, theta: Mapping[str, Tensor], tangents: Sequence[dict[str, Tensor]]
) -> Tensor:
    stacked = {name: torch.stack([tangent[name] for tangent in tangents]) for name in theta}

    def moved(tangent: dict[str, Tensor]) -> Tensor:
        return torch.func.jvp(logits, (dict(theta),), (tangent,))[1]

    return torch.func.vmap(moved)(stacked).detach()


def _forward_loop(
    logits: Logits, theta: Mapping[str, Tensor], tangents: Sequence[dict[str, Tensor]]
) -> Tensor:
    found = [torch.func.jvp(logits, (dict(theta),), (tangent,))[1] for tangent in tangents]
    return torch.stack(found).detach()


def _twice_backward(
    logits: Logits, theta: Mapping[str, Tensor], tangents: Sequence[dict[str, Tensor]]
) -> Tensor:
    """J x as the derivative of u ↦ Jᵀu, which is linear, in the direction of x."""
    leaves = {name: value.detach().requires_grad_(True) for name, value in theta.items()}
    with torch.enable_grad():
        values = _on_graph(logits(leaves), leaves)
        u = torch.zeros_like(values).requires_grad_(True)
        pulled = torch.autograd.grad(
            values, list(leaves.values()), u, create_graph=True, materialize_grads=True
        )
        inside = [gradient for gradient in pulled if gradient.requires_grad]
    out = []
    for tangent in tangents:
        along = [
            tangent[name]
            for name, gradient in zip(leaves, pulled, strict=True)
            if gradient.requires_grad
        ]
        (moved,) = torch.autograd.grad(inside, u, along, retain_graph=True, materialize_grads=True)
        out.append(moved)
    return torch.stack(out)


_PUSH: dict[Way, Callable[[Logits, Mapping[str, Tensor], Sequence[dict[str, Tensor]]], Tensor]] = {
    "forward": _forward,
    "forward, one by one": _forward_loop,
    "twice backward": _twice_backward,
}


@contextmanager
def _derivative_rules() -> Iterator[None]:
    """Attention in the form that has all derivatives; float32 that is float32 on every device.

    Global random states come back as they were.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    with (
        preserved_random_state(),
        full_float32(),
        sdpa_kernel(SDPBackend.MATH),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
