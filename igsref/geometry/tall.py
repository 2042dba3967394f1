"""Tall factors, n > m: the scaled D as it stands."""

from functools import partial

import torch

from igsref.curvature.factor import differences
from igsref.curvature.rank_bound import rank_bound
from igsref.geometry.checks import check_rows, warn_of_no_derivative
from igsref.geometry.cut import estimated_row_error, is_clear
from igsref.geometry.geometry import Certificate, Geometry
from igsref.geometry.verify import (
    estimated_certificate,
    is_verifiable,
    proven_row_error,
    verified_certificate,
)
from igsref.jacobian.rounding import estimate_rounding
from igsref.linalg.equilibrate import Scales, equilibrate_
from igsref.linalg.range import Subspace, find_range
from igsref.problem import Problem


def tall_geometry(problem: Problem, route: str) -> Geometry:
    """The geometry of a problem with n > m, D in memory: U from it, then Q (see ``wide``)."""
    matrix = differences(problem)
    check_rows(problem, matrix, 0)
    warn_of_no_derivative(matrix)
    contrast = problem.likelihood.contrast(problem.logits)
    rounding = estimate_rounding(problem, contrast, matrix)
    matrix[:, rounding.noise] = 0.0
    scales = equilibrate_(matrix)
    error = estimated_row_error(rounding.relative, matrix)
    cut = float(error.norm())
    root = problem.likelihood.root(problem.logits)
    space, sizes = find_range(matrix, root / scales.rows.view(len(root), 1, -1), cut)
    certify = partial(estimated_certificate, problem, space, error)
    if is_verifiable(problem):
        kept = torch.where(rounding.noise, 0.0, scales.columns)
        certify = partial(_verified, problem, space, Scales(scales.rows, kept))
    return Geometry(
        problem, space, False, 0.0, is_clear(sizes, cut), route, rank_bound(problem), certify
    )


def _verified(problem: Problem, space: Subspace, scales: Scales) -> Certificate:
    return verified_certificate(problem, space, proven_row_error(problem, scales))
