"""What the saturation of one result means, in two sentences that fit it."""

import torch

from igsref.measures.result import Result

_MOSTLY, _NOTHING, _CLOSED = 0.9, 5e-4, 1e-3
_SAME = 1e-9


def saturation_sentences(result: Result) -> tuple[str, str]:
    """What was found, and what follows."""
    if result.ceiling <= result.pool_size * torch.finfo(torch.float64).eps:
        return "The losses are 0 to rounding.", "So is the IGS, whatever the landscape is."
    if result.saturated:
        return _saturated(result)
    first, second = _found(result)
    if result.is_lower_bound:
        second += " Parameters were left out: for the whole network this is a lower bound."
    return first, second


def _saturated(result: Result) -> tuple[str, str]:
    pooled = result.pool_size != result.num_samples
    of = "the inputs of the pool" if pooled else "its samples"
    hint = "" if pooled else "; a pool of further inputs for F (fisher_data=) may change that"
    return (
        f"This network can move all {result.num_rows} independent outputs of {of} at once, each "
        "without the others (F has full row rank), so that its IGS is its ceiling.",
        "It is a function of the training losses alone and says nothing of the landscape that "
        f"they do not{hint}.",
    )


def _found(result: Result) -> tuple[str, str]:
    share, certain = _percent(result.saturation), _percent(result.lower / result.ceiling)
    missing = max(0.0, 1 - result.upper / result.ceiling)
    rank = f"rank {result.rank_lower}"
    if result.rank_lower < result.rank_upper:
        rank = f"a rank between {result.rank_lower} and {result.rank_upper}"
    if result.history:
        return (
            f"The iteration found {share} of the ceiling, an estimate; at least {certain} is "
            "certain.",
            f"Of the rest {_certainly(missing)} is certainly missing, for an iteration that was "
            "stopped is below the exact number; igsref.igs with a smaller tolerance, or with more "
            "time and memory, comes closer.",
        )
    if result.lower >= (1 - _SAME) * result.ceiling:
        return (
            "F has not been shown to have full row rank, but the IGS is its ceiling all the same, "
            "to rounding.",
            "It is a function of the training losses alone, as of a saturated network.",
        )
    if result.upper - result.lower <= _CLOSED * result.ceiling:
        return (
            f"F has {rank} in a data space of {result.num_rows} dimensions, so that the IGS stays "
            f"below what the losses alone would allow: it reaches {share} of its ceiling.",
            _what_is_missing(result.saturation),
        )
    return (
        f"The computed saturation is {share}, of which {certain} is certain: F has {rank} of "
        f"{result.num_rows}, and float64 decides no more.",
        "What is missing is a property of the network that its losses do not tell: "
        f"{_percent(1 - result.saturation)} as computed, of which {_certainly(missing)} is "
        "certain.",
    )


def _certainly(missing: float) -> str:
    return _percent(missing) if missing > _NOTHING else "nothing"


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
