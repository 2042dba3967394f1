"""What one result means, in sentences that fit it, and what could be done about a wide bracket."""

import torch

from igsref.curvature.exact_bound import EXACT
from igsref.exact.cost import require_affordable
from igsref.exact.network import is_piecewise_rational, unsupported
from igsref.measures.result import Result
from igsref.problem import Problem

_MOSTLY, _NOTHING, _CLOSED = 0.9, 5e-4, 1e-3
_SAME = 1e-9
_SOURCES = {
    "rows": "the number of independent outputs",
    "distinct inputs": "the number of distinct inputs",
    "parameters": "the number of parameters",
    "rank_bound": "rank_bound, on trust",
    EXACT: "exact arithmetic",
}


def saturation_in_short(result: Result) -> str:
    """The saturation in four digits, and whether a 1 was shown; never 1 of what is less."""
    if result.saturated:
        return "1, shown" if result.rank_lower == result.num_rows else "1, computed"
    short = f"{result.saturation:.4g}"
    if short == "1" and result.saturation < 1:
        return f"1 − {1 - result.saturation:.1g}"
    return short


def saturation_sentences(result: Result) -> tuple[str, str]:
    """What was found, and what follows."""
    if _is_nothing(result):
        return "The losses are 0 to rounding.", "So is the IGS, whatever the landscape is."
    if result.saturated:
        return _saturated(result)
    first, second = _found(result)
    if (dominant := result.dominant_sample()) is not None:
        sample, share, rest = dominant
        second += (
            f" But sample #{sample} alone holds {_percent(share)} of the ceiling: without its "
            f"terms the others reach {_percent(rest)} of theirs."
        )
    if result.is_lower_bound:
        second += " Parameters were left out: for the whole network this is a lower bound."
    return first, second


def _saturated(result: Result) -> tuple[str, str]:
    pooled = result.pool_size != result.num_samples
    of = "the inputs of the pool" if pooled else "its samples"
    hint = "" if pooled else "; a pool of further inputs for F (fisher_data=) may change that"
    known = "" if result.rank_lower == result.num_rows else ", as far as rounding is estimated"
    return (
        f"This network can move all {result.num_rows} independent outputs of {of} at once, each "
        f"without the others (the factor of F has full row rank{known}), so that its IGS is its "
        "ceiling.",
        "It is a function of the training losses alone and says nothing of the landscape that "
        f"they do not{hint}.",
    )


def rank_source(result: Result) -> str:
    """What the upper end of the rank comes from, in words."""
    return _SOURCES.get(result.rank_source, result.rank_source)


def advice(problem: Problem, result: Result) -> str:
    """What could narrow a wide bracket of a factorisation; nothing where it is not wide."""
    if _is_nothing(result) or not _is_open(result):
        return ""
    said = []
    if result.rank_lower < result.rank_upper:
        said.append(_advice_on_the_rank(result))
    if _can_be_certified(problem):
        exact = is_piecewise_rational(problem)
        rank = "decides the rank" if exact else "may decide the rank"
        said.append(f"igsref.certify computes this network in exact arithmetic, and {rank}.")
    return " ".join(said)


def _advice_on_the_rank(result: Result) -> str:
    said = (
        f"The bracket is wide because the rank of F may be as large as {result.rank_upper}, by "
        f"{rank_source(result)}. If you know a smaller bound, from theory say, rank_bound= brings "
        "the upper end down; it is taken on trust."
    )
    if result.clear_rank and result.rank < result.rank_upper:
        said += (
            f" The spectrum has a gap behind {result.rank} directions: if they are all, "
            f"rank_bound={result.rank} leaves no more than about ±{result.rounding_error:.1g} open."
        )
    return said


def _can_be_certified(problem: Problem) -> bool:
    if unsupported(problem) is not None:
        return False
    try:
        require_affordable(problem)
    except ValueError:
        return False
    return True


def _is_nothing(result: Result) -> bool:
    """Whether there is no loss to speak of, and no share of it."""
    return result.ceiling <= result.pool_size * torch.finfo(torch.float64).eps


def _is_open(result: Result) -> bool:
    """Whether a factorisation left the bracket so wide that the saturation is not known."""
    if result.saturated or result.history or _is_at_ceiling(result):
        return False
    return result.upper - result.lower > _CLOSED * result.ceiling


def _is_at_ceiling(result: Result) -> bool:
    return result.lower >= (1 - _SAME) * result.ceiling


def _found(result: Result) -> tuple[str, str]:
    if result.history:
        return _iterated(result)
    if _is_at_ceiling(result):
        return (
            "F has not been shown to have full row rank, but the IGS is its ceiling all the same, "
            "to rounding.",
            "It is a function of the training losses alone, as of a saturated network.",
        )
    return _undecided(result) if _is_open(result) else _known(result)


def _iterated(result: Result) -> tuple[str, str]:
    found, certain = _percent(result.saturation), _percent(result.lower / result.ceiling)
    return (
        f"The iteration found {found} of the ceiling, an estimate; at least {certain} is certain.",
        "Whether the rest is missing is not known, for an iteration that was stopped is below the "
        "exact number; igsref.igs with a smaller tolerance, or with more time and memory, comes "
        "closer.",
    )


def _known(result: Result) -> tuple[str, str]:
    share = _percent(result.saturation)
    if result.rank_upper < result.num_rows:
        first = (
            f"F has rank {_rank(result)}, and the {_inputs(result)} have {result.num_rows} "
            "independent outputs: the network cannot move each without the others, so that the IGS "
            f"stays below what the losses alone would allow. It reaches {share} of its ceiling."
        )
    else:
        first = (
            f"F has rank {_rank(result)}, where the outputs would allow {result.num_rows}; "
            f"whichever it is, the IGS reaches {share} of its ceiling."
        )
    return first, _what_is_missing(result.saturation)


def _undecided(result: Result) -> tuple[str, str]:
    certain = _percent(result.lower / result.ceiling)
    missing = max(0.0, 1 - result.upper / result.ceiling)
    return (
        f"The computed saturation is {_percent(result.saturation)}, of which {certain} is certain: "
        f"F has rank {_rank(result)}, where the outputs would allow {result.num_rows}, and float64 "
        "decides no more.",
        "What is missing is a property of the network that its losses do not tell: "
        f"{_percent(1 - result.saturation)} as computed, of which "
        f"{_percent(missing) if missing > _NOTHING else 'nothing'} is certain.",
    )


def _rank(result: Result) -> str:
    if result.rank_lower < result.rank_upper:
        return f"between {result.rank_lower} and {result.rank_upper}"
    return str(result.rank_lower)


def _inputs(result: Result) -> str:
    pooled = result.pool_size != result.num_samples
    return f"{result.pool_size} {'inputs of the pool' if pooled else 'samples'}"


def _what_is_missing(saturation: float) -> str:
    missing = _percent(1 - saturation)
    if saturation > _MOSTLY:
        return (
            "Most of the number is therefore told by the training losses; only what is missing, "
            f"{missing}, depends on the network's geometry."
        )
    return (
        f"What is missing, {missing}, depends on the network's geometry and not on its losses "
        "alone: it is what the measure adds to them."
    )


def _percent(share: float) -> str:
    """Three digits, and never 100% of what is less.

    >>> _percent(0.12345), _percent(0.99999)
    ('12.3%', 'more than 99.9%')
    """
    if 0.9995 <= share < 1:
        return "more than 99.9%"
    if 0 < share < 0.0005:
        return "less than 0.1%"
    return f"{100 * share:.3g}%"
