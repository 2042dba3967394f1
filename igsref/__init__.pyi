"""What ``igsref`` holds, and where: read by lazy_loader at import, and by type checkers."""

from . import training, transforms
from .curvature.density import spectral_density
from .curvature.eigenpairs import top_eigenpairs
from .curvature.fisher import Spectrum, eigenvalues, fisher, gram, spectrum
from .curvature.hessian import hessian
from .curvature.solve import fisher_solve
from .curvature.trace import curvature_trace
from .enclosure import Enclosure
from .exact.decimals import Decimals
from .exact.rank import RankCertificate
from .geometry.access import as_geometry
from .geometry.geometry import Geometry
from .geometry.plan import Plan, plan
from .likelihoods import Bernoulli, Categorical, Gaussian, Likelihood
from .linalg.cg import Solution
from .linalg.density import SpectralDensity
from .linalg.lanczos import Eigenpairs
from .linalg.trace import TraceEstimate
from .measures.blocks import block_upper_bound
from .measures.certify import (
    Certified,
    certify,
    exact_gram,
    exact_rank,
    rank_certificate,
)
from .measures.choose import igs
from .measures.compare import Comparison, compare, side_by_side
from .measures.criteria import Criterion, CriterionWarning, aic, fisher_tic, tic
from .measures.crossings import Crossings, exact_crossings, first_order_crossings
from .measures.divergence import fisher_quadratic, kl_divergence
from .measures.hierarchy import Hierarchy, gradient_hierarchy
from .measures.igs import AccuracyWarning, exact_igs, expected_igs
from .measures.loss_margins import LossMargins, loss_margins
from .measures.margins import Margins, margin_enclosure, margins
from .measures.matrixfree import matrixfree_igs
from .measures.measurement import Measure, Measurement
from .measures.minibatch import MonteCarlo, monte_carlo_minibatch_igs
from .measures.registry import MEASURES
from .measures.result import Result
from .measures.sharpness.average_case import (
    adaptive_average_case_sharpness,
    average_case_sharpness,
)
from .measures.sharpness.fisher_rao import empirical_fisher_rao_norm, fisher_rao_norm
from .measures.sharpness.hessian_norms import hessian_norm, hessian_trace
from .measures.sharpness.keskar import keskar_sharpness
from .measures.sharpness.norms import frobenius_norm, gradient_norm, path_norm
from .measures.sharpness.petzka import (
    maximal_relative_flatness,
    relative_flatness,
    standardized_maximal_relative_flatness,
    standardized_relative_flatness,
)
from .measures.sharpness.rangamani import rangamani_norm, rangamani_trace
from .measures.sharpness.sam import asam_sharpness, sam_sharpness
from .measures.sharpness.tsuzuku import normalized_sharpness
from .measures.sharpness.worst_case import (
    adaptive_worst_case_linf_sharpness,
    adaptive_worst_case_sharpness,
    worst_case_linf_sharpness,
    worst_case_sharpness,
)
from .measures.span import span_residual
from .measures.textbook import textbook_igs
from .measures.truncated import TruncatedIGS, TruncationWarning, truncated_igs
from .problem import Problem, as_problem
from .report import write_report
from .transforms.reparametrize import reparametrize

__version__: str

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
    "training",
    "transforms",
    "truncated_igs",
    "worst_case_linf_sharpness",
    "worst_case_sharpness",
    "write_report",
]
