"""Leading eigenpairs of a symmetric operator that is known by its products alone.

They come from a Lanczos decomposition with all vectors kept orthogonal,

    A Q = Q T + W C,   QᵀQ = I,  WᵀQ = 0,                                                    (1)

Q (m, p), the block W (m, b) that comes next, and small T, C. For T s = θ s the residual of the
pair θ, Q s is W C s, so ‖C s‖ tells its norm, as far as (1) holds in floats.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from igsref.arguments import check_type, checked_integer, checked_positive
from igsref.linalg.products import Product, applied, seeded
from igsref.linalg.rounding import UNIT

State = dict[str, Any]

_ROOM = 32
"""Vectors of the basis beyond those that are kept for the wanted pairs."""
_SEARCH_STEPS = 24
_MISSED = 1e-3
"""The probability to which :attr:`Eigenpairs.unseen_above` is stated."""
_CHUNK = 1 << 16
"""Entries of each vector that a change of basis takes at once."""


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Leading eigenpairs, judged by fresh products and not by the recurrence.

    eigenvalues: (k,), falling in the order that was asked for; the Rayleigh quotients of the
        eigenvectors by fresh products.
    eigenvectors: (m, k), orthonormal columns whose largest entry is positive.
    residual_norms: ‖A v − λ v‖, (k,), of the same fresh products.
    converged: where these are at most tolerance · max|λ|, (k,).
    products: columns that were multiplied by A, the last k for the residuals.
    unseen_above: an eigenvalue above this that none of the pairs shows, such as one more copy of
        a multiple one, was missed with probability at most 1e-3 (of absolute value above this in
        order "magnitude"); infinite where products ran out before the search for such.
    """

    eigenvalues: Float64[Tensor, " k"]
    eigenvectors: Float64[Tensor, "m k"]
    residual_norms: Float64[Tensor, " k"]
    converged: Bool[Tensor, " k"]
    products: int
    unseen_above: float


def leading_eigenpairs(
    product: Product,
    size: SupportsIndex,
    k: SupportsIndex,
    *,
    tolerance: float = 1e-8,
    seed: SupportsIndex = 0,
    max_products: SupportsIndex | None = None,
    block: SupportsIndex = 1,
    order: str = "algebraic",
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], object] | None = None,
    on_cycle: Callable[[State], object] | None = None,
    state: State | None = None,
) -> Eigenpairs:
    """The k largest eigenvalues of a symmetric operator, with their eigenvectors.

    Lanczos with full reorthogonalisation and thick restart (Wu & Simon, "Thick-restart Lanczos
    method for large symmetric eigenvalue problems", SIAM J. Matrix Anal. Appl. 22, 2000). Memory
    is bounded: 2k + 32 vectors (k + 32·block if that is more), and k for the result.

    A Krylov space holds one direction of each eigenspace only (``block`` of them). So, after the
    pairs have converged, the space goes on from a random block orthogonal to all of them, until a
    round of 24 such steps has brought no new pair; ``unseen_above`` says what such a round shows:
    for a random start, j steps leave the largest eigenvalue μ underestimated by ε(μ − λ_min)
    with probability at most 1.648 √m exp(−√ε (2j − 1)) (Kuczyński & Woźniakowski, SIAM J. Matrix
    Anal. Appl. 13, 1992, Theorem 4.1), the smallest Ritz value standing for λ_min. A largest
    eigenvalue alone needs no round, since copies of it are no larger.

    An invariant subspace is no obstacle: the space goes on from a random vector. There are always
    k pairs; where the rank is smaller, the others lie in the null space, with eigenvalues that
    are 0 to rounding.

    product: V ↦ A V, (m, block) to (m, block), float64 on the device.
    size: m. k: how many pairs, at most m.
    tolerance: pairs are wanted to ‖A v − λ v‖ ≤ tolerance · max|λ|; the recurrence is asked for
        half of that.
    seed: of the random vectors; the global random states neither enter nor change.
    max_products: at most so many columns are multiplied, the k of the last residuals included;
        10 m + k by default. Where they do not suffice, ``converged`` says what is missing.
    block: the most columns that the product is given at once.
    order: "algebraic" for the largest λ, "magnitude" for the largest |λ|.
    on_progress: called with the number of products and that of the pairs converged so far.
    on_cycle: called after each restart with a state, copies of tensors and numbers. With it as
        ``state`` and the other arguments unchanged the work goes on from there, bit for bit.

    Raises ValueError for numbers out of range, for a product that gives another shape or numbers
    that are not finite, and for a state of other arguments; TypeError for other types.
    """
    wanted = _Wanted(
        checked_integer("size", size, least=1),
        checked_integer("k", k, least=1),
        checked_integer("block", block, least=1),
        order,
        checked_positive("tolerance", tolerance),
    )
    limit = _checked_limit(wanted, max_products)
    generator = seeded(seed)
    run = _Run(wanted, Decomposition(wanted.size, wanted.capacity, generator, device))
    if state is None:
        run.space.begin(wanted.block)
    else:
        run.resume(state)
    while not run.done and run.space.products + len(run.space.next) + wanted.k <= limit:
        run.space.expand(product)
        restarted = run.judge(on_progress)
        if restarted and on_cycle is not None:
            on_cycle(run.state())
    return run.result(product)


@dataclass(frozen=True)
class _Wanted:
    """What is asked for."""

    size: int
    k: int
    block: int
    order: str
    tolerance: float

    def __post_init__(self) -> None:
        for name, value in (("k", self.k), ("block", self.block)):
            if value > self.size:
                raise ValueError(f"{name} must be at most size, {self.size}; got {value}")
        if self.order not in ("algebraic", "magnitude"):
            raise ValueError(f"order must be 'algebraic' or 'magnitude'; got {self.order!r}")

    @property
    def capacity(self) -> int:
        """Vectors of the basis: the pairs, and room for a search without a restart."""
        return min(self.size, max(2 * self.k + _ROOM, self.k + _ROOM * self.block))

    def key(self, values: Tensor) -> Tensor:
        """What is to be large."""
        return values.abs() if self.order == "magnitude" else values


def _checked_limit(wanted: _Wanted, max_products: SupportsIndex | None) -> int:
    """How many columns may be multiplied: by k vectors, in whole blocks, and once more by k."""
    if max_products is None:
        return 10 * wanted.size + wanted.k
    least = -(-wanted.k // wanted.block) * wanted.block + wanted.k
    return checked_integer("max_products", max_products, least=least)


class Decomposition:
    """The decomposition (1); vectors are rows here, so that each lies in one piece.

    rows: Qᵀ in front, room behind. next: Wᵀ. projected: T, (p, p), on the CPU. coupling: what is
    not 0 of C right after a product, its last columns, on the CPU. norm: the longest image of a
    unit vector so far, a lower bound on ‖A‖.
    """

    rows: Tensor
    generator: torch.Generator
    length: int
    products: int
    norm: float
    next: Tensor
    projected: Tensor
    coupling: Tensor

    def __init__(
        self, size: int, capacity: int, generator: torch.Generator, device: torch.device | str
    ) -> None:
        self.rows = torch.empty(capacity, size, dtype=torch.float64, device=device)
        self.generator = generator
        self.length = self.products = 0
        self.norm = 0.0
        self.next = self.rows[:0]
        self.projected = torch.zeros(0, 0, dtype=torch.float64)
        self.coupling = torch.zeros(0, 0, dtype=torch.float64)

    @property
    def basis(self) -> Float64[Tensor, "p m"]:
        """Qᵀ."""
        return self.rows[: self.length]

    def begin(self, block: int) -> None:
        """Go on from random vectors: what (1) leaves outside of Q counts as nothing."""
        self.next = self._filled(self.rows[:0], block)

    def expand(self, product: Product) -> None:
        """Q ← (Q, W): one product by the block, and all inner products with the basis.

        T is made of these inner products. They repeat C where the block came out of (1), and
        are the coupling of a random block where it did not.
        """
        before, width = self.length, len(self.next)
        self.length += width
        self.rows[before : self.length] = self.next
        images = applied(product, self.next.mT).mT
        self.products += width
        self.norm = max(self.norm, float(images.norm(dim=1).max()))
        inner, self.next, self.coupling = self._split(images)
        projected = inner.new_zeros(self.length, self.length)
        projected[:before, :before] = self.projected
        projected[before:] = inner
        projected[:before, before:] = inner[:, :before].mT
        own = projected[before:, before:]
        projected[before:, before:] = (own + own.mT) / 2
        self.projected = projected

    def residual_norms(self, vectors: Float64[Tensor, "p count"]) -> Float64[Tensor, " count"]:
        """‖C s‖ of eigenvectors s of T, right after a product."""
        return (self.coupling @ vectors[self.length - self.coupling.shape[1] :]).norm(dim=0)

    def compress(self, vectors: Float64[Tensor, "p kept"]) -> None:
        """Q ← Q S for orthonormal eigenvectors S of T, in place."""
        kept, mixing = vectors.shape[1], vectors.mT.to(self.rows)
        for start in range(0, self.rows.shape[1], _CHUNK):
            part = slice(start, start + _CHUNK)
            self.rows[:kept, part] = mixing @ self.rows[: self.length, part]
        self.length = kept
        self.projected = vectors.mT @ self.projected @ vectors
        self.projected = (self.projected + self.projected.mT) / 2

    def _split(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(H, Wᵀ, R): images = H Qᵀ + Rᵀ Wᵀ; random rows where the rest spans less than a block.

        What is no longer than the rounding of the inner products is nothing: unit roundoffs of
        the operator's norm, one for each vector that is taken out, which add up like a walk.
        """
        floor = 8 * UNIT * self.norm * math.sqrt(self.length + 1)
        width = min(len(images), self.rows.shape[1] - self.length)
        inner = torch.zeros(len(images), self.length, dtype=torch.float64)
        found, mixing = images[:0], torch.zeros(0, len(images), dtype=torch.float64)
        for place, image in enumerate(images):
            left, inside, among = _orthogonalised(image, self.basis, found)
            inner[place], mixing[:, place] = inside.cpu(), among.cpu()
            norm = float(left.norm())
            if norm > floor and len(found) < width:
                found = torch.cat([found, left[None] / norm])
                mixing = torch.cat([mixing, mixing.new_zeros(1, len(images))])
                mixing[-1, place] = norm
        return inner, self._filled(found, width), mixing

    def _filled(self, found: Tensor, width: int) -> Tensor:
        """The rows with random ones behind: orthonormal, orthogonal to Q, as many as there are."""
        size = self.rows.shape[1]
        for _ in range(len(found), min(width, size - self.length)):
            row = torch.randn(size, generator=self.generator, dtype=torch.float64)
            row, _, _ = _orthogonalised(row.to(self.rows), self.basis, found)
            found = torch.cat([found, row[None] / row.norm()])
        return found


def _orthogonalised(
    vector: Float64[Tensor, " m"], basis: Float64[Tensor, "p m"], more: Float64[Tensor, "q m"]
) -> tuple[Float64[Tensor, " m"], Float64[Tensor, " p"], Float64[Tensor, " q"]]:
    """A vector less its part in the span of orthonormal rows, and the coefficients of that part.

    Twice is enough (Giraud, Langou, Rozložník, van den Eshof, "Rounding error analysis of the
    classical Gram-Schmidt orthogonalization process", 2005), unless the second time still takes
    more than half of what there was: then next to nothing is left, and it is asked again.
    """
    inside, among = vector.new_zeros(len(basis)), vector.new_zeros(len(more))
    for again in range(4):
        before = vector.norm()
        first = basis @ vector
        vector = vector - first @ basis
        second = more @ vector
        vector = vector - second @ more
        inside, among = inside + first, among + second
        if again and bool(vector.norm() >= before / 2):
            break
    return vector, inside, among


class _Run:
    """A decomposition on its way to the wanted pairs.

    found: the values of the round before, none in the first. steps: those since the last random
    start. lowest: the smallest Ritz value. done: whether a round has ended with no new pair.
    """

    def __init__(self, wanted: _Wanted, space: Decomposition) -> None:
        self.wanted, self.space = wanted, space
        self.found = torch.zeros(0, dtype=torch.float64)
        self.steps = 0
        self.lowest = math.inf
        self.done = False

    def judge(self, on_progress: Callable[[int, int], object] | None) -> bool:
        """Look at the Ritz pairs, now and then; whether the space was restarted."""
        space, k = self.space, self.wanted.k
        self.steps += 1
        full = space.length + len(space.next) > len(space.rows) or len(space.next) == 0
        if space.length < k or not (full or self._due()):
            return False
        values, vectors = self._ritz()
        self.lowest = min(self.lowest, float(values.min()))
        allowed = self.wanted.tolerance * float(values.abs().max())
        converged = space.residual_norms(vectors[:, :k]) <= allowed / 2
        if on_progress is not None:
            on_progress(space.products, int(converged.sum()))
        if len(space.next) == 0:
            self.done = True
        elif bool(converged.all()) and self._round_over():
            self.done = self._nothing_new(values[:k], allowed)
            if not self.done:
                space.compress(vectors[:, :k])
                space.begin(self.wanted.block)
                self.found, self.steps = values[:k], 0
                return True
        elif full:
            space.compress(vectors[:, : self._kept()])
            return True
        return False

    def result(self, product: Product) -> Eigenpairs:
        """The pairs as they are, by fresh products."""
        space, k = self.space, self.wanted.k
        _, vectors = self._ritz()
        space.compress(vectors[:, :k])
        values, norms, signs = [], [], []
        for rows in space.basis.split(self.wanted.block):
            images = applied(product, rows.mT).mT
            value = (rows * images).sum(dim=1)
            values.append(value)
            norms.append((images - value[:, None] * rows).norm(dim=1))
            signs += [-1.0 if row[row.abs().argmax()] < 0 else 1.0 for row in rows]
        eigenvalues, residuals = torch.cat(values), torch.cat(norms)
        order = self.wanted.key(eigenvalues).argsort(descending=True, stable=True)
        vectors = space.basis[order].mul_(torch.tensor(signs).to(eigenvalues)[order, None])
        eigenvalues, residuals = eigenvalues[order], residuals[order]
        return Eigenpairs(
            eigenvalues,
            vectors.mT,
            residuals,
            residuals <= self.wanted.tolerance * eigenvalues.abs().max(),
            space.products + k,
            self._unseen_above(float(self.wanted.key(eigenvalues[-1]))),
        )

    def state(self) -> State:
        """All that is needed to go on from here, in copies."""
        space = self.space
        return {
            **self._identity(),
            "basis": space.basis.clone(),
            "next": space.next.clone(),
            "projected": space.projected.clone(),
            "generator": space.generator.get_state(),
            "norm": space.norm,
            "products": space.products,
            "found": self.found.clone(),
            "steps": self.steps,
            "lowest": self.lowest,
        }

    def resume(self, state: State) -> None:
        """Go on from a state. Raises ValueError where it belongs to other arguments."""
        check_type("state", state, dict, "a state that on_cycle was called with")
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise ValueError(f"state must be of {name} {value!r}; got {state.get(name)!r}")
        space = self.space
        space.length = len(state["basis"])
        space.rows[: space.length] = state["basis"]
        space.next = state["next"].to(space.rows, copy=True)
        space.projected = state["projected"].clone()
        space.generator.set_state(state["generator"])
        space.norm, space.products = state["norm"], state["products"]
        self.found, self.steps = state["found"].clone(), state["steps"]
        self.lowest = state["lowest"]

    def _identity(self) -> State:
        wanted = self.wanted
        return {"size": wanted.size, "k": wanted.k, "block": wanted.block, "order": wanted.order}

    def _due(self) -> bool:
        """Eigenvectors of T cost p³: they are asked for every p/64 vectors."""
        return self.steps % (self.space.length // (64 * self.wanted.block) + 1) == 0

    def _ritz(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of T, leading ones first, and its eigenvectors."""
        values, vectors = torch.linalg.eigh(self.space.projected)
        order = self.wanted.key(values).argsort(descending=True, stable=True)
        return values[order], vectors[:, order]

    def _kept(self) -> int:
        """Ritz vectors that a restart keeps: the wanted ones and half of the others."""
        return self.wanted.k + (self.space.length - self.wanted.k) // 2

    def _round_over(self) -> bool:
        return len(self.found) == 0 or self.steps >= _SEARCH_STEPS

    def _nothing_new(self, values: Tensor, allowed: float) -> bool:
        """Whether a round has ended with the pairs that it began with."""
        if len(self.found) == 0:
            return self.wanted.k == 1
        return bool(((values - self.found).abs() <= allowed).all())

    def _unseen_above(self, last: float) -> float:
        """The level μ with μ − last = ε (μ − λ_min), ε as the number of steps tells.

        Those before the first restart: what came later has made the Ritz values larger still.
        """
        wanted, space = self.wanted, self.space
        if not self.done:
            return math.inf
        if len(space.next) == 0:
            return last
        steps = min(self.steps, (len(space.rows) - len(self.found)) // wanted.block)
        epsilon = (math.log(1.648 * math.sqrt(wanted.size) / _MISSED) / (2 * steps - 1)) ** 2
        lowest, share = self.lowest, epsilon
        if wanted.order == "magnitude":  # the other end is not beyond −μ
            lowest, share = 0.0, 2 * epsilon
        return (last - share * lowest) / (1 - share) if share < 1 else math.inf
