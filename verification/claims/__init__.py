"""Every sentence of the mathematics as a claim that is proved, corrected or refuted by machine.

One module for each family of claims; :data:`CLAIMS` has them all, in the order of the paper.
"""

from verification.claims.claim import Claim, Disproved, require

CLAIMS: tuple[Claim, ...] = (
    # one line a family, in the order of the paper
)

__all__ = ["CLAIMS", "Claim", "Disproved", "require"]
