"""igsref: exact-geometry reference implementation of the information-geometric sharpness (IGS).

Jang, Lee, Park, Noh, "A Reparametrization-Invariant Sharpness Measure Based on Information
Geometry", NeurIPS 2022.
"""

from igsref.curvature.fisher import Spectrum, eigenvalues, fisher, gram, spectrum
from igsref.enclosure import Enclosure
from igsref.geometry.access import as_geometry
from igsref.geometry.geometry import Geometry
from igsref.geometry.plan import Plan, plan
from igsref.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood
from igsref.measures.blocks import block_upper_bound
from igsref.measures.divergence import fisher_quadratic, kl_divergence
from igsref.measures.hierarchy import Hierarchy, gradient_hierarchy
from igsref.measures.igs import AccuracyWarning, exact_igs, expected_igs
from igsref.measures.minibatch import MonteCarlo, monte_carlo_minibatch_igs
from igsref.measures.result import Result
from igsref.measures.span import span_residual
from igsref.measures.textbook import textbook_igs
from igsref.problem import Problem, as_problem

__version__ = "0.1.0"

__all__ = [
    "AccuracyWarning",
    "Bernoulli",
    "Categorical",
    "Enclosure",
    "Gaussian",
    "Geometry",
    "Hierarchy",
    "Likelihood",
    "MonteCarlo",
    "Plan",
    "Problem",
    "Result",
    "Spectrum",
    "as_geometry",
    "as_problem",
    "block_upper_bound",
    "eigenvalues",
    "exact_igs",
    "expected_igs",
    "fisher",
    "fisher_quadratic",
    "gradient_hierarchy",
    "gram",
    "kl_divergence",
    "monte_carlo_minibatch_igs",
    "plan",
    "span_residual",
    "spectrum",
    "textbook_igs",
]
