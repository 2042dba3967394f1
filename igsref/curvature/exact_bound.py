"""The exact rank of F as an upper bound on it, where it is cheap: what structure does not know."""

from igsref.curvature.rank_bound import RankBound
from igsref.exact.arithmetic import RATIONALS
from igsref.exact.cost import MOST_ROWS, linearisation_seconds
from igsref.exact.network import is_piecewise_rational, linearised, unsupported
from igsref.exact.rank import affordable_rank
from igsref.problem import Problem

EXACT = "exact rank"


def exact_bound(problem: Problem, known: RankBound, seconds: float) -> RankBound | None:
    """The exact rank of a piecewise-linear sequential network, if predicted to take no longer.

    known: a bound from structure; where the exact rank meets it, it costs the least.
    None for other networks and where it takes longer.
    """
    if unsupported(problem) is not None or not is_piecewise_rational(problem):
        return None
    first = linearisation_seconds(problem)
    if problem.num_rows > MOST_ROWS or first > seconds:
        return None
    certificate = affordable_rank(linearised(problem, RATIONALS).gram, known.value, seconds - first)
    if certificate is None:
        return None
    return RankBound(certificate.rank, known.source if certificate.null is None else EXACT)
