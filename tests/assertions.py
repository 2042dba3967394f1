"""What the tests assert of results, with messages that say what was compared."""

from igsref import Result

FLOAT_AGREEMENT = 1e-10


def assert_same_igs(before: Result, after: Result, *, agreement: float = FLOAT_AGREEMENT) -> None:
    """Values and G agree to a share of the value plus what both state of their own rounding."""
    allowed = agreement * before.value + before.rounding_error + after.rounding_error
    for name in ("value", "full_batch"):
        got, expected = getattr(after, name), getattr(before, name)
        assert abs(got - expected) <= allowed, (
            f"{name} moved from {expected!r} to {got!r}, by {abs(got - expected):.3g}; "
            f"allowed {allowed:.3g}"
        )


def assert_in_order(result: Result) -> None:
    """0 ≤ value ≤ ceiling, per sample too; saturation in [0, 1]."""
    assert 0 <= result.value <= result.ceiling
    assert 0 <= result.saturation <= 1
    assert bool((result.per_sample >= 0).all())
    assert bool((result.per_sample <= result.sample_ceiling).all())
    assert result.rank <= min(result.num_rows, result.num_parameters)
