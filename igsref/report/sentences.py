"""What the saturation of one result means, in two sentences that fit it."""

from igsref.measures.result import Result

_MOSTLY, _NOTHING = 0.9, 5e-4


def saturation_sentences(result: Result) -> tuple[str, str]:
    """What was found, and what follows."""
    if result.ceiling == 0:
        return (
            "Every sample is predicted with certainty, so that the ceiling is 0.",
            "The IGS is 0, whatever the landscape is.",
        )
    if result.saturated:
        return (
            f"This network can move all {result.num_rows} independent outputs of its samples at "
            "once, each without the others (F has full row rank), so that its IGS is its ceiling.",
            "It is a function of the training losses alone and says nothing of the landscape that "
            "they do not; a pool of further inputs for F (fisher_data=) may change that.",
        )
    share = _percent(result.saturation)
    if result.rank_lower == result.rank_upper:
        return (
            f"F has rank {result.rank_lower} exactly in a data space of {result.num_rows} "
            f"dimensions, so that the IGS stays below what the losses alone would allow: it "
            f"reaches {share} of its ceiling.",
            _what_is_missing(result.saturation),
        )
    certain = _percent(result.lower / result.ceiling)
    gap = max(0.0, 1 - result.upper / result.ceiling)
    if result.history:
        return (
            f"The iteration found {share} of the ceiling, an estimate; at least {certain} is "
            "certain.",
            "Whether the rest is really missing is not known: an iteration that is stopped is below"
            " the exact number, so take a smaller tolerance before reading the difference from 1 "
            "as a property of the network.",
        )
    return (
        f"The computed saturation is {share}, of which {certain} is certain; the exact rank of F "
        f"lies between {result.rank_lower} and {result.rank_upper} of {result.num_rows}, which "
        "float64 does not decide.",
        f"What is missing is a property of the network that its losses do not tell: "
        f"{_percent(1 - result.saturation)} as computed, of which "
        f"{_percent(gap) if gap > _NOTHING else 'nothing'} is certain whatever the rank is.",
    )


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
