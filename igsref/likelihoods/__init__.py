r"""Likelihoods: what the network's outputs mean, and the geometry that this gives the outputs.

A likelihood gives every sample a loss l(f, y), the output gradient u = ∂l/∂f, and the output
metric Λ = Fisher information of the outputs f. From these come, in forms that neither cancel
nor underflow,

    contrast K (R×C)   so that D = K J has no common part left in it,
    root Lᵀ (R×R)      with Kᵀ L Lᵀ K = Λ, hence the reduced factor A = Lᵀ D, AᵀA = JᵀΛJ,
    residual v (R)     with g = uᵀJ = vᵀA, the whitened residual,
    ceiling            ‖v‖² = uᵀΛ⁺u, which no projection of v exceeds.

All shapes carry the batch of samples first. To add a likelihood, write one frozen dataclass
in a file of its own, with the methods of :class:`Likelihood`, and enter it in ``LIKELIHOODS``.
"""

from igsref.likelihoods.bernoulli import Bernoulli
from igsref.likelihoods.categorical import Categorical
from igsref.likelihoods.gaussian import Gaussian
from igsref.likelihoods.protocol import Likelihood

__all__ = ["LIKELIHOODS", "Bernoulli", "Categorical", "Gaussian", "Likelihood", "find_likelihood"]

LIKELIHOODS: dict[str, Likelihood] = {
    likelihood.name: likelihood for likelihood in (Categorical(), Bernoulli(), Gaussian())
}


def find_likelihood(likelihood: str | Likelihood) -> Likelihood:
    """The likelihood of that name, or the object itself if it already is one.

    Raises ValueError for an unknown name, TypeError for anything else.
    """
    if isinstance(likelihood, str):
        if likelihood not in LIKELIHOODS:
            raise ValueError(
                f"likelihood must be one of {sorted(LIKELIHOODS)} or a Likelihood; "
                f"got {likelihood!r}"
            )
        return LIKELIHOODS[likelihood]
    if isinstance(likelihood, type):
        raise TypeError(
            "likelihood must be an object, not a class: give "
            f"{likelihood.__name__}(), or its name; got {likelihood!r}"
        )
    if not isinstance(likelihood, Likelihood):
        raise TypeError(
            f"likelihood must be a name or a Likelihood; got {type(likelihood).__name__}"
        )
    return likelihood
