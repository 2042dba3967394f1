"""Every sentence of the mathematics as a claim that is proved, corrected or refuted by machine.

One module for each family of claims; :data:`CLAIMS` has them all, in the order of the paper.
"""

from verification.claims import (
    compression,
    gradient_span,
    hessian_and_fisher,
    information_criteria,
    invariants,
    iterate_bounds,
    leverage,
    likelihood_metrics,
    margin_meaning,
    margins,
    matrix_free,
    minibatch,
    normalised_rank_bound,
    not_invariant,
    null_directions,
    pool_fisher,
    proposition,
    rank,
    regulariser,
    reparametrization,
    smooth_rank_bound,
    softmax_fisher,
    spectrum,
    spectrum_and_igs,
)
from verification.claims.claim import Claim, Disproved, require

CLAIMS: tuple[Claim, ...] = (
    # one line a family, in the order of the paper
    *softmax_fisher.CLAIMS,
    *spectrum.CLAIMS,
    *spectrum_and_igs.CLAIMS,
    *hessian_and_fisher.CLAIMS,
    *reparametrization.CLAIMS,
    *proposition.CLAIMS,
    *gradient_span.CLAIMS,
    *leverage.CLAIMS,
    *minibatch.CLAIMS,
    *information_criteria.CLAIMS,
    *margins.CLAIMS,
    *margin_meaning.CLAIMS,
    *regulariser.CLAIMS,
    *likelihood_metrics.CLAIMS,
    *null_directions.CLAIMS,
    *smooth_rank_bound.CLAIMS,
    *normalised_rank_bound.CLAIMS,
    *rank.CLAIMS,
    *invariants.CLAIMS,
    *matrix_free.CLAIMS,
    *iterate_bounds.CLAIMS,
    *compression.CLAIMS,
    *pool_fisher.CLAIMS,
    *not_invariant.CLAIMS,
)

__all__ = ["CLAIMS", "Claim", "Disproved", "require"]
