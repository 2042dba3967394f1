"""Every check passes, and fails with each of its mutations."""

import pytest

from verification.claims import CLAIMS, Claim, Disproved

MUTATED = [(claim, mistake) for claim in CLAIMS for mistake in claim.mutations]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_check_passes_and_says_what_was_seen(claim: Claim) -> None:
    assert claim.check()


@pytest.mark.parametrize(
    ("claim", "mistake"), MUTATED, ids=[f"{claim.name}: {mistake}" for claim, mistake in MUTATED]
)
def test_check_fails_with_a_mistake(claim: Claim, mistake: str) -> None:
    with pytest.raises(Disproved):
        claim.check(**claim.mutations[mistake])


def test_names_are_unique() -> None:
    names = [claim.name for claim in CLAIMS]
    assert len(names) == len(set(names))
