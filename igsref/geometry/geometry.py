"""A geometry: the range of a problem's reduced factor, and how far it is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.exact_bound import exact_bound
from igsref.curvature.rank_bound import RankBound
from igsref.enclosure import Grade
from igsref.geometry.plan import factorisation_seconds
from igsref.linalg.assess import Assessment
from igsref.linalg.bracket import Bracket, bracket, whole
from igsref.linalg.range import Blocks, Space, Vectors
from igsref.problem import Problem

_SAMPLES_AT_ONCE = 256
_CHEAP = 1.0
_CHEAP_FACTORISATIONS = 20


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is known of the exact range, given bounds on the errors of rows and logits.

    full: it is all of R^n. assessment: of a subspace near it, otherwise; None where no direction
    was found. logit_error: bounds, (N, C). grade: of those bounds, and so of what follows.
    """

    full: bool
    assessment: Assessment | None
    logit_error: Float64[Tensor, "samples classes"]
    grade: Grade


@dataclass(frozen=True, eq=False)
class Geometry:
    """The range of the reduced factor of a problem, ready for every measure.

    space: answers ``energy`` and ``block_energy`` in data space R^{N·R}.
    saturated: range(A) is the whole data space, by a margin above the estimated rounding.
    margin: σ_min/error of the scaled D (a lower bound; 0 where it is known not to exceed 1).
    clear_rank: no direction stands less than 1,000 times above the estimated rounding or less
        than 10 times below. Otherwise the spectrum runs into rounding, and may go on below it.
    route: how it was computed. structural: F has at most this rank, by its structure.
    certify: makes the certificate, when a bracket is first asked for.
    """

    problem: Problem
    space: Space
    saturated: bool
    margin: float
    clear_rank: bool
    route: str
    structural: RankBound
    certify: Callable[[], Certificate]

    def energy(self, vectors: Float64[Tensor, "rows k"]) -> Float64[Tensor, " k"]:
        """‖P V_j‖² of right-hand sides in data space."""
        return self.space.energy(vectors)

    def sample_energy(self, blocks: Float64[Tensor, "samples rows"]) -> Float64[Tensor, " samples"]:
        """‖P v_i‖² for a block of every labelled sample."""
        return self.space.block_energy(blocks, self.problem.members)

    def in_blocks(self, blocks: Float64[Tensor, "samples rows"]) -> Sequence[Vectors]:
        """One column for every labelled sample, its block in its place; some at a time."""
        return Blocks(blocks, self.problem.members).split(_SAMPLES_AT_ONCE)

    def embedded(self, blocks: Float64[Tensor, "k samples rows"]) -> Float64[Tensor, "stacked k"]:
        """Columns that hold a block of every labelled sample in its place."""
        out = blocks.new_zeros(len(blocks), self.problem.pool_size, blocks.shape[2])
        out[:, self.problem.members] = blocks
        return out.flatten(1).mT

    def bracket(self, vectors: Sequence[Vectors]) -> Bracket:
        """lower ≤ ‖P V‖_F² ≤ upper for the columns of V, these floats; P of the exact logits' A."""
        if self.certificate.full:
            return whole(vectors)
        if self.certificate.assessment is None:
            return Bracket(0.0, whole(vectors).upper if self.rank_upper.value else 0.0, 0.0)
        return bracket(self.certificate.assessment, vectors, self.rank_upper.value)

    @cached_property
    def certificate(self) -> Certificate:
        """How far the space is known."""
        return self.certify()

    @cached_property
    def rank_upper(self) -> RankBound:
        """F has at most this rank, and why: by structure, or its exact rank where that is cheap.

        Cheap is a second, or 20 times what the factorisation takes. An exact rank below an
        estimated ``rank_lower`` would show that estimate to be wrong, and closes nothing.
        """
        if self.rank_lower >= self.structural.value:
            return self.structural
        seconds = max(_CHEAP, _CHEAP_FACTORISATIONS * factorisation_seconds(self.problem))
        exact = exact_bound(self.problem, self.structural, seconds)
        return self.structural if exact is None or exact.value < self.rank_lower else exact

    @property
    def rank_lower(self) -> int:
        """F has at least this rank."""
        if self.certificate.full:
            return self.problem.num_rows
        return 0 if self.certificate.assessment is None else self.certificate.assessment.rank

    def leverage(self) -> Float64[Tensor, "pool rows_per_sample"]:
        """Leverage scores of the rows of A; they add up to rank A = rank F."""
        n, height = self.problem.pool_size, self.problem.rows_per_sample
        unit = torch.eye(height, dtype=torch.float64, device=self.problem.logits.device)
        everywhere = torch.arange(n, device=unit.device)
        return torch.stack(
            [
                self.space.block_energy(row.expand(n, height).contiguous(), everywhere)
                for row in unit
            ],
            dim=1,
        )
