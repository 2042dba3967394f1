"""Conjugate gradients for F x = g, F positive semi-definite and perhaps singular."""

import math
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from igsref.arguments import check_dense, check_number, checked_integer, checked_positive
from igsref.linalg.products import Product, applied
from igsref.linalg.rounding import UNIT

_KEPT = 5
"""g, x, F x, the residual, the direction."""
_MADE = 6
"""The directions of a step, their image, both damped or times a step length, what is added."""


@dataclass(frozen=True)
class Check:
    """A residual that was computed afresh, beside what the recurrence took it for."""

    column: int
    iteration: int
    recurrence: float
    recomputed: float


@dataclass(frozen=True, eq=False)
class Solution:
    """Iterates, and what fresh products say of them.

    x: (m, k). residual_norms: ‖g − F x − δ x‖ of fresh products, (k,).
    lower: a lower bound on gᵀF⁺g for each g in range F, (k,); NaN where g was found not to be in
        it, or damping hides whether it is. Exact but for the rounding of one product. For every x,

            gᵀF⁺g − xᵀ(2g − F x) = (x − F⁺g)ᵀ F (x − F⁺g) ≥ 0   for g in range F,

        since F F⁺g = g; and of all t the bound with t x is largest for t = gᵀx/(xᵀF x), where it
        is (gᵀx)²/(xᵀF x).
    reasons: why each column ended: "converged"; "stagnated", the recurrence went on and the fresh
        residual did not; "not in range"; "iterations".
    iterations: of each column, (k,). products: columns that were multiplied by F.
    history: every fresh residual in the order of computation.
    """

    x: Float64[Tensor, "m k"]
    residual_norms: Float64[Tensor, " k"]
    lower: Float64[Tensor, " k"]
    reasons: tuple[str, ...]
    iterations: Int64[Tensor, " k"]
    products: int
    history: tuple[Check, ...]


def conjugate_gradient(
    product: Product,
    right_hand_side: Float64[Tensor, "m k"],
    *,
    tolerance: float,
    max_iterations: SupportsIndex,
    damping: float = 0.0,
    in_range: bool = False,
) -> Solution:
    """Solve (F + δ I) x = g for each column g, starting at 0 (Hestenes & Stiefel 1952).

    A recurrence residual is no certificate. Where it says that a column has converged, or that
    nothing but rounding is left, the residual is computed afresh: a column ends if that agrees,
    goes on from the fresh residual if this has at least halved since the last look, and has
    stagnated otherwise. The last residual of every column is a fresh one.

    Singular F is no obstacle for g in range F: all iterates then lie in it, and the limit is F⁺g.
    For other g no x has a residual smaller than the part of g outside, and iterates grow without
    bound along it. The sign of that is a direction p with gᵀp ≠ 0 and a curvature pᵀF p that is
    0 to rounding, on which a column ends as "not in range". Eigenvalues of F that go down to
    rounding themselves can hide it; the column ends by "iterations" then, with a residual that may
    be larger than g, and ``lower`` bounds nothing.

    product: V ↦ F V for a block of columns, float64 on their device; called with all the columns
        that have not ended.
    right_hand_side: g, (m, k).
    tolerance: columns are wanted to ‖g − F x − δ x‖ ≤ tolerance · ‖g‖.
    max_iterations: of each column. damping: δ ≥ 0.
    in_range: whether every g is known to lie in range F. With δ > 0 all of them converge, and
        nothing can be found out of it: ``lower`` is NaN then, unless this is said.

    Raises ArithmeticError for a direction of negative curvature, beyond rounding: F is not
    positive semi-definite, and no bound holds. ValueError for numbers out of range, for a product
    that gives another shape or numbers that are not finite; TypeError for other types.

    >>> matrix = torch.tensor([[2.0, 0.0], [0.0, 0.0]]).double()
    >>> g = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double()
    >>> found = conjugate_gradient(lambda V: matrix @ V, g, tolerance=1e-9, max_iterations=9)
    >>> found.reasons, found.lower.tolist()
    (('converged', 'not in range'), [0.5, nan])
    """
    check_right_hand_side(right_hand_side)
    checked_positive("tolerance", tolerance)
    most = checked_integer("max_iterations", max_iterations, least=1)
    check_damping(damping)
    columns = _Columns(product, right_hand_side, tolerance, damping, in_range)
    for _ in range(most):
        if all(columns.reasons):
            break
        columns.step()
    return columns.solution()


def iterate_vectors(columns: int) -> int:
    """Vectors of length m that are held: what each column keeps, and what a step makes of it."""
    return (_KEPT + _MADE) * columns


def check_damping(damping: float) -> None:
    """Raise ValueError unless 0 ≤ δ < ∞, TypeError for what is no number."""
    check_number("damping", damping)
    if not 0 <= damping < math.inf:
        raise ValueError(f"damping must be finite and at least 0; got {damping}")


def check_right_hand_side(right_hand_side: Tensor) -> None:
    """Raise TypeError unless it is dense, ValueError unless it is finite."""
    check_dense("right_hand_side", right_hand_side)
    if not bool(right_hand_side.isfinite().all()):
        raise ValueError("right_hand_side must be finite; it holds numbers that are not")


class _Columns:
    """Conjugate gradients side by side, with scalars of their own.

    images: F x, where it was last computed. norm: the largest ‖F p + δ p‖/‖p‖ so far, a lower
    bound on ‖F‖ + δ. last: the residual of each column at the last fresh look, ‖g‖ at first.
    reasons: empty for a column that has not ended.
    """

    def __init__(
        self, product: Product, g: Tensor, tolerance: float, damping: float, in_range: bool
    ) -> None:
        self.product, self.g, self.damping = product, g, damping
        self.bounded = in_range or damping == 0
        self.allowed = tolerance * g.norm(dim=0)
        self.x, self.residual, self.direction = torch.zeros_like(g), g.clone(), g.clone()
        self.last = g.norm(dim=0)
        self.images = torch.zeros_like(g)
        self.reasons = ["" if norm > 0 else "converged" for norm in self.last.tolist()]
        self.iterations = torch.zeros(g.shape[1], dtype=torch.int64, device=g.device)
        self.norm, self.products = 0.0, 0
        self.history: list[Check] = []

    def step(self) -> None:
        """One iteration of the columns that have not ended, and a fresh look where one is due."""
        moving = self._indices([not reason for reason in self.reasons])
        p = self.direction[:, moving]
        image = applied(self.product, p) + self.damping * p
        self.products += len(moving)
        flat = self._is_flat(p, image)
        for column in moving[flat].tolist():
            self.reasons[column] = "not in range"
        moving, p, image = moving[~flat], p[:, ~flat], image[:, ~flat]
        square = self.residual[:, moving].square().sum(dim=0)
        length = square / (p * image).sum(dim=0)
        self.x[:, moving] += length * p
        self.residual[:, moving] -= length * image
        left = self.residual[:, moving].square().sum(dim=0)
        self.direction[:, moving] = self.residual[:, moving] + left / square * p
        self.iterations[moving] += 1
        known = torch.maximum(self.allowed[moving], self._rounding(moving))
        self._look(moving[left.sqrt() <= known])

    def solution(self) -> Solution:
        """The columns as they are; those still moving have run out of iterations."""
        unseen = [reason in ("", "not in range") for reason in self.reasons]
        for column, norm in self._refresh(self._indices(unseen)).items():
            if not self.reasons[column]:
                done = norm <= float(self.allowed[column])
                self.reasons[column] = "converged" if done else "iterations"
        return Solution(
            self.x,
            self.residual.norm(dim=0),
            self._lower(),
            tuple(self.reasons),
            self.iterations,
            self.products,
            tuple(self.history),
        )

    def _look(self, columns: Tensor) -> None:
        """Hold the recurrence's word against a fresh residual, from which what is left goes on."""
        for column, norm in self._refresh(columns).items():
            if norm <= float(self.allowed[column]):
                self.reasons[column] = "converged"
            elif norm > float(self.last[column]) / 2:
                self.reasons[column] = "stagnated"
            self.last[column] = norm
            self.direction[:, column] = self.residual[:, column]

    def _refresh(self, columns: Tensor) -> dict[int, float]:
        """Compute F x and the residual of some columns afresh; the residuals' norms by column."""
        if len(columns) == 0:
            return {}
        claimed = self.residual[:, columns].norm(dim=0)
        x = self.x[:, columns]
        image = applied(self.product, x)
        self.products += len(columns)
        self.images[:, columns] = image
        self.residual[:, columns] = self.g[:, columns] - image - self.damping * x
        norms = self.residual[:, columns].norm(dim=0).tolist()
        places = columns.tolist()
        for place, claim, norm in zip(places, claimed.tolist(), norms, strict=True):
            self.history.append(Check(place, int(self.iterations[place]), claim, norm))
        return dict(zip(places, norms, strict=True))

    def _rounding(self, columns: Tensor) -> Float64[Tensor, " columns"]:
        """What g and F x + δ x are rounded by: below it, a residual says nothing of the range."""
        sizes = self.g[:, columns].norm(dim=0) + self.norm * self.x[:, columns].norm(dim=0)
        return 8 * UNIT * sizes

    def _is_flat(self, p: Tensor, image: Tensor) -> Bool[Tensor, " moving"]:
        """Where pᵀ(F p + δ p) is 0 to rounding: u ‖F‖ ‖p‖² for each entry, adding up like a walk.

        Raises ArithmeticError where it is less than that.
        """
        size, curvature = p.square().sum(dim=0), (p * image).sum(dim=0)
        self.norm = max(self.norm, float((image.norm(dim=0) / size.sqrt()).max()))
        rounding = 8 * UNIT * math.sqrt(len(p)) * self.norm * size
        if bool((curvature < -rounding).any()):
            raise ArithmeticError(
                "product must be positive semi-definite; a direction of curvature "
                f"{float((curvature / size).min()):.3g} was found, beside one of {self.norm:.3g}"
            )
        return curvature <= rounding

    def _lower(self) -> Float64[Tensor, " k"]:
        """(gᵀx)²/(xᵀF x), 0 for x = 0; NaN where g is not in range F, or could not be found so."""
        reached, curvature = (self.g * self.x).sum(dim=0), (self.x * self.images).sum(dim=0)
        lower = torch.where(curvature > 0, reached.square() / curvature, 0.0)
        outside = [reason == "not in range" or not self.bounded for reason in self.reasons]
        return lower.masked_fill(torch.tensor(outside, device=lower.device), math.nan)

    def _indices(self, chosen: list[bool]) -> Int64[Tensor, " chosen"]:
        return torch.tensor(chosen, device=self.g.device).nonzero()[:, 0]
