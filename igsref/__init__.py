"""igsref: exact-geometry reference implementation of the information-geometric sharpness (IGS).

Jang, Lee, Park, Noh, "A Reparametrization-Invariant Sharpness Measure Based on Information
Geometry", NeurIPS 2022.
"""

from igsref import training as training
from igsref.curvature.density import spectral_density
from igsref.curvature.eigenpairs import top_eigenpairs
from igsref.curvature.fisher import Spectrum, eigenvalues, fisher, gram, spectrum
from igsref.curvature.hessian import hessian
from igsref.curvature.solve import fisher_solve
from igsref.curvature.trace import curvature_trace
from igsref.enclosure import Enclosure
from igsref.exact.decimals import Decimals
from igsref.exact.rank import RankCertificate
from igsref.geometry.access import as_geometry
from igsref.geometry.geometry import Geometry
from igsref.geometry.plan import Plan, plan
from igsref.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood
from igsref.linalg.cg import Solution
from igsref.linalg.density import SpectralDensity
from igsref.linalg.lanczos import Eigenpairs
from igsref.linalg.trace import TraceEstimate
from igsref.measures.blocks import block_upper_bound
from igsref.measures.certify import (
    Certified,
    certify,
    exact_gram,
    exact_rank,
    rank_certificate,
)
from igsref.measures.choose import igs
from igsref.measures.compare import Comparison, compare, side_by_side
from igsref.measures.criteria import Criterion, CriterionWarning, aic, fisher_tic, tic
from igsref.measures.crossings import Crossings, exact_crossings, first_order_crossings
from igsref.measures.divergence import fisher_quadratic, kl_divergence
from igsref.measures.hierarchy import Hierarchy, gradient_hierarchy
from igsref.measures.igs import AccuracyWarning, exact_igs, expected_igs
from igsref.measures.loss_margins import LossMargins, loss_margins
from igsref.measures.margins import Margins, margin_enclosure, margins
from igsref.measures.matrixfree import matrixfree_igs
from igsref.measures.measurement import Measure, Measurement
from igsref.measures.minibatch import MonteCarlo, monte_carlo_minibatch_igs
from igsref.measures.registry import MEASURES
from igsref.measures.result import Result
from igsref.measures.sharpness.average_case import (
    adaptive_average_case_sharpness,
    average_case_sharpness,
)
from igsref.measures.sharpness.fisher_rao import empirical_fisher_rao_norm, fisher_rao_norm
from igsref.measures.sharpness.hessian_norms import hessian_norm, hessian_trace
from igsref.measures.sharpness.keskar import keskar_sharpness
from igsref.measures.sharpness.norms import frobenius_norm, gradient_norm, path_norm
from igsref.measures.sharpness.petzka import (
    maximal_relative_flatness,
    relative_flatness,
    standardized_maximal_relative_flatness,
    standardized_relative_flatness,
)
from igsref.measures.sharpness.rangamani import rangamani_norm, rangamani_trace
from igsref.measures.sharpness.sam import asam_sharpness, sam_sharpness
from igsref.measures.sharpness.tsuzuku import normalized_sharpness
from igsref.measures.sharpness.worst_case import (
    adaptive_worst_case_linf_sharpness,
    adaptive_worst_case_sharpness,
    worst_case_linf_sharpness,
    worst_case_sharpness,
)
from igsref.measures.span import span_residual
from igsref.measures.textbook import textbook_igs
from igsref.measures.truncated import TruncatedIGS, TruncationWarning, truncated_igs
from igsref.problem import Problem, as_problem
from igsref.report import write_report
from igsref.transforms.reparametrize import reparametrize

__version__ = "0.1.0"

__all__ = [
    "MEASURES",
    "AccuracyWarning",
    "Bernoulli",
    "Categorical",
    "Certified",
    "Comparison",
    "Criterion",
    "CriterionWarning",
    "Crossings",
    "Decimals",
    "Eigenpairs",
    "Enclosure",
    "Gaussian",
    "Geometry",
    "Hierarchy",
    "Likelihood",
    "LossMargins",
    "Margins",
    "Measure",
    "Measurement",
    "MonteCarlo",
    "Plan",
    "Problem",
    "RankCertificate",
    "Result",
    "Solution",
    "SpectralDensity",
    "Spectrum",
    "TraceEstimate",
    "TruncatedIGS",
    "TruncationWarning",
    "adaptive_average_case_sharpness",
    "adaptive_worst_case_linf_sharpness",
    "adaptive_worst_case_sharpness",
    "aic",
    "as_geometry",
    "as_problem",
    "asam_sharpness",
    "average_case_sharpness",
    "block_upper_bound",
    "certify",
    "compare",
    "curvature_trace",
    "eigenvalues",
    "empirical_fisher_rao_norm",
    "exact_crossings",
    "exact_gram",
    "exact_igs",
    "exact_rank",
    "expected_igs",
    "first_order_crossings",
    "fisher",
    "fisher_quadratic",
    "fisher_rao_norm",
    "fisher_solve",
    "fisher_tic",
    "frobenius_norm",
    "gradient_hierarchy",
    "gradient_norm",
    "gram",
    "hessian",
    "hessian_norm",
    "hessian_trace",
    "igs",
    "keskar_sharpness",
    "kl_divergence",
    "loss_margins",
    "margin_enclosure",
    "margins",
    "matrixfree_igs",
    "maximal_relative_flatness",
    "monte_carlo_minibatch_igs",
    "normalized_sharpness",
    "path_norm",
    "plan",
    "rangamani_norm",
    "rangamani_trace",
    "rank_certificate",
    "relative_flatness",
    "reparametrize",
    "sam_sharpness",
    "side_by_side",
    "span_residual",
    "spectral_density",
    "spectrum",
    "standardized_maximal_relative_flatness",
    "standardized_relative_flatness",
    "textbook_igs",
    "tic",
    "top_eigenpairs",
    "truncated_igs",
    "worst_case_linf_sharpness",
    "worst_case_sharpness",
    "write_report",
]
