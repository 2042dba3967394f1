"""Brackets widen with the errors they are given, keep the truth, and a lie does not pass."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from igsref.enclosure import Enclosure
from igsref.geometry import verify
from verification.accuracy import compare, known, measured
from verification.brackets import Bracketing, bracket_table, bracketing, exact_ceiling
from verification.networks import EXTREME_KINDS, KINDS, as_lists, draw_network
from verification.oracle import truth

SEEDS = range(3)
FACTORS = (1.0, 1e3, 1e6, 1e9)
# A bracket that is good to 1e-12 looks for no better one (igsref.linalg.bracket).
SETTLED = 1e-12
RIGHT = 1e-9


def inflate_errors(patch: pytest.MonkeyPatch, factor: float) -> None:
    """Multiply the bounds, proven or estimated, of the errors of rows and logits."""
    for name in ("logit_error", "estimate_logit_error"):
        bound = getattr(verify, name)
        patch.setattr(verify, name, lambda problem, bound=bound: factor * bound(problem))
    assess, is_nonsingular = verify.assess, verify.is_nonsingular
    patch.setattr(verify, "assess", lambda space, error: assess(space, factor * error))
    patch.setattr(
        verify,
        "is_nonsingular",
        lambda matrix, error, inverse: is_nonsingular(matrix, factor * error, inverse),
    )


def inflated(kind: str, seed: int) -> list[Bracketing]:
    """One bracketing for each factor, in rising order."""
    found = []
    for factor in FACTORS:
        with pytest.MonkeyPatch.context() as patch:
            inflate_errors(patch, factor)
            found.append(compare(kind, seed).bracket)
    return found


@pytest.mark.parametrize("kind", KINDS + EXTREME_KINDS)
def test_larger_errors_widen_the_bracket_and_never_lose_the_truth(kind):
    for seed in SEEDS:
        brackets = inflated(kind, seed)
        assert not [str(bracket) for bracket in brackets if bracket.outside]
        for narrow, wide in pairwise(brackets):
            assert wide.enclosure.lower <= narrow.enclosure.lower * (1 + SETTLED)
            assert wide.enclosure.upper >= narrow.enclosure.upper * (1 - SETTLED)


def test_errors_a_billion_times_larger_are_felt():
    narrow, *_, wide = inflated("duplicated", 0)
    assert wide.enclosure.width > 1e3 * narrow.enclosure.width


def test_an_interval_that_ends_next_to_the_truth_misses_it():
    network, exact, ceiling = known("trained", 1)
    result = measured(network)
    beyond = float(exact.value.mid())
    while not beyond > exact.value:
        beyond = math.nextafter(beyond, math.inf)
    shifted = replace(result, lower=beyond, value=beyond, upper=max(beyond, result.upper))
    found = bracketing(network, shifted, exact, ceiling)
    ((number, distance),) = found.outside
    assert number == "IGS"
    assert 0 < distance <= math.ulp(beyond)
    assert f"{distance:.1e}" in str(found)


LIES = {
    "G": lambda result: replace(result, full_batch=Enclosure(0.0, 0.0, 0.0, result.grade)),
    "rank": lambda result: replace(result, rank_upper=result.rank_lower - 1),
    "ceiling": lambda result: replace(result, ceiling=result.ceiling * (1 - RIGHT)),
}


@pytest.mark.parametrize("number", LIES)
def test_a_wrong_end_of_any_other_number_is_found(number):
    network, exact, ceiling = known("trained", 1)
    found = bracketing(network, LIES[number](measured(network)), exact, ceiling)
    assert [name for name, _ in found.outside] == [number]


def test_copies_of_an_input_share_one_ceiling():
    whole = draw_network("trained", 1)
    once, twice = (
        replace(whole, inputs=whole.inputs[rows], labels=whole.labels[rows])
        for rows in ([0, 1], [0, 1, 1, 1])
    )
    exact = [truth(*as_lists(network)) for network in (once, twice)]
    assert exact[0].ceiling < exact[1].ceiling
    shared = exact_ceiling(twice, exact[1], bits=1200)
    assert shared.overlaps(exact[0].ceiling)
    assert shared.rel_accuracy_bits() > 1000


def test_table_has_a_line_for_every_kind_and_grade_that_occurs():
    lines = bracket_table([compare("trained", 1).bracket, compare("dead", 0).bracket]).splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["trained", "verified", "1"],
        ["dead", "verified", "1"],
        ["all", "verified", "2"],
    ]
