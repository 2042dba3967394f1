"""What the tests assert of results, with messages that say what was compared."""

import torch

from igsref import Result

FLOAT_AGREEMENT = 1e-10


def assert_same_igs(before: Result, after: Result, *, agreement: float = FLOAT_AGREEMENT) -> None:
    """Values and G agree to a share of the value plus what both state of their own rounding.

    Their brackets overlap: rounding of the weights moves less than what brackets leave open.
    """
    assert max(before.lower, after.lower) <= min(before.upper, after.upper)
    ends = before.full_batch, after.full_batch
    assert max(end.lower for end in ends) <= min(end.upper for end in ends)
    allowed = agreement * before.value + before.rounding_error + after.rounding_error
    for name in ("value", "full_batch"):
        got, expected = float(getattr(after, name)), float(getattr(before, name))
        assert abs(got - expected) <= allowed, (
            f"{name} moved from {expected!r} to {got!r}, by {abs(got - expected):.3g}; "
            f"allowed {allowed:.3g}"
        )


def assert_same_bits(before: Result, after: Result) -> None:
    """IGS and G with their ends, rank, ceiling and terms are equal bit for bit."""
    for name in ("enclosure", "full_batch", "rank", "ceiling"):
        assert getattr(after, name) == getattr(before, name), name
    assert torch.equal(after.per_sample, before.per_sample)


def assert_in_order(result: Result) -> None:
    """0 ≤ lower ≤ value ≤ upper ≤ ceiling, of G too; terms per sample; saturation; ranks."""
    assert 0 <= result.lower <= result.value <= result.upper <= result.ceiling
    assert 0 <= result.full_batch.lower <= result.full_batch.upper <= result.ceiling
    assert result.rank_lower <= result.rank_upper
    assert 0 <= result.saturation <= 1
    assert bool((result.per_sample >= 0).all())
    assert bool((result.per_sample <= result.sample_ceiling).all())
    assert result.rank <= min(result.num_rows, result.num_parameters)
