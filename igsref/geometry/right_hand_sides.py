"""Right-hand sides in data space whose energies add up to the IGS, for routes that take few.

IGS = (N_F/N) Σ_i ‖P v_i‖² is heavy-tailed: a few samples hold most of it. They get a right-hand
side each. The others share probes w = Σ_i z_i v_i with independent random signs z_i:

    E‖P w‖² = Σ_i ‖P v_i‖²,    Var ‖P w‖² = 2 Σ_{i≠j} (v_iᵀ P v_j)².

The variance is that of ‖(I − P) w‖² too, since ‖w‖² itself is that of a probe of known vectors in
blocks of their own, and does not vary: with D_ij = v_iᵀ(I − P)v_j it is at most 2 (tr D)². So a
probe is off by no more than some √2 of what is missing to the ceiling: by nothing where the network
is saturated. Signs live in data space, and no change of parameters touches them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from igsref.linalg.products import random_signs, seeded


@dataclass(frozen=True, eq=False)
class RightHandSides:
    """Columns of data space, N_F·R numbers each: the heaviest samples, probes, all together.

    heaviest: samples with a column of their own, the largest ‖v_i‖² first, (h,). probes: (p, ·)
    signs of the other samples, 0 for the heaviest; p = 0 where there are no others.
    matrix: their h columns, then the p probes, then the total, unless it is left out.
    total: Σ_i v_i, of the full-batch gradient.
    """

    heaviest: Int64[Tensor, " heaviest"]
    signs: Float64[Tensor, "probes samples"]
    matrix: Float64[Tensor, "rows columns"]
    total: Float64[Tensor, " rows"]

    @property
    def num_heaviest(self) -> int:
        """h."""
        return len(self.heaviest)

    @property
    def num_probes(self) -> int:
        """p."""
        return len(self.signs)

    @property
    def probe_square(self) -> float:
        """‖w‖², the same for every probe: Σ ‖v_i‖² of the samples that share it."""
        if not self.num_probes:
            return 0.0
        return float(self.matrix[:, self.num_heaviest].square().sum())


def right_hand_sides(
    residuals: Float64[Tensor, "samples rows"],
    members: Int64[Tensor, " samples"],
    pool_size: int,
    *,
    heaviest: int,
    probes: int,
    seed: int,
    full_batch: bool = True,
) -> RightHandSides:
    """Columns for the ``heaviest`` samples, and ``probes`` for the rest, signs by ``seed``.

    residuals: v_i of the labelled samples, whose places in the pool are ``members``.
    full_batch: whether their sum has a column.
    """
    samples, height = residuals.shape
    count = min(heaviest, samples)
    order = residuals.square().sum(dim=1).argsort(descending=True, stable=True)
    alone = order[:count]
    signs = random_signs(seeded(seed), samples, probes).mT.to(residuals).contiguous()
    signs[:, alone] = 0.0
    if count == samples:
        signs = signs[:0]
    own = torch.zeros(count, samples, dtype=torch.float64, device=residuals.device)
    own[torch.arange(count), alone] = 1.0
    weights = torch.cat([own, signs, torch.ones_like(residuals[:, 0])[None]])
    columns = residuals.new_zeros(len(weights), pool_size, height)
    columns[:, members] = weights[:, :, None] * residuals
    matrix = columns.flatten(1).mT.contiguous()
    without = matrix if full_batch else matrix[:, :-1].contiguous()
    return RightHandSides(alone, signs, without, matrix[:, -1])
