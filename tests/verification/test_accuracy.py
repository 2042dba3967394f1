"""The promise of `exact_igs`: right to 1e-9 wherever p > 1e-12, and never wrong in silence.

And of its brackets: they contain the truth, however small the probabilities.
"""

import pytest

from igsref.enclosure import GRADES
from verification.accuracy import WARNS_FROM, Comparison, compare, known, measured, table
from verification.brackets import bracket_table, bracketing
from verification.networks import EXTREME_KINDS, KINDS

SEEDS = range(38)
RIGHT = 1e-9
# Proven errors of rows are at most some hundred units u, together ‖e‖ < 1e-12 for these sizes. A
# direction of singular value σ is then known to ‖e‖/σ, which a warning from 1e-6 on owes to
# σ < 1e-6: to a pivot, σ², below this.
HIDDEN_PIVOT = (1e-12 / WARNS_FROM) ** 2


@pytest.fixture(scope="module")
def drawn(request: pytest.FixtureRequest) -> list[Comparison]:
    found = [compare(kind, seed) for kind in KINDS + EXTREME_KINDS for seed in SEEDS]
    brackets = bracket_table(comparison.bracket for comparison in found)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{len(found)} networks against the truth in ≥ 50 digits\n{table(found)}")
        print(f"widths of their brackets relative to the value\n{brackets}")
    return found


@pytest.fixture(scope="module")
def comparisons(drawn: list[Comparison]) -> list[Comparison]:
    """Those with p > 1e-12 or so."""
    return [comparison for comparison in drawn if comparison.kind in KINDS]


def test_estimated_brackets_contain_the_truth(drawn, monkeypatch):
    """Every third of the same networks as if no error of theirs could be proven."""
    for route in ("wide", "tall"):
        monkeypatch.setattr(f"igsref.geometry.{route}.is_verifiable", lambda problem: False)
    brackets = []
    for comparison in drawn[::3]:
        network, exact, ceiling = known(comparison.kind, comparison.seed)
        brackets.append(bracketing(network, measured(network), exact, ceiling))
    assert {bracket.enclosure.grade for bracket in brackets} == {"estimated"}
    assert len(brackets) >= 100
    assert not [str(bracket) for bracket in brackets if bracket.outside]


@pytest.mark.parametrize("grade", GRADES)
def test_brackets_of_a_grade_contain_the_truth(drawn, grade):
    """IGS, G, rank and ceiling; see `verification.brackets`."""
    assert len(drawn) >= 300
    brackets = [c.bracket for c in drawn if c.bracket.enclosure.grade == grade]
    assert len(brackets) >= 20
    assert not [str(bracket) for bracket in brackets if bracket.outside]


def test_value_is_right_to_nine_digits_unless_it_warns(comparisons):
    assert len(comparisons) >= 200
    wrong = [c for c in comparisons if not c.warned and c.error > RIGHT]
    assert not wrong


def test_stated_rounding_covers_the_error_where_the_rank_is_right(comparisons):
    assert all(c.error <= c.stated for c in comparisons if c.rank_is_right)


def test_warning_comes_only_where_float64_cannot_see_a_direction(comparisons):
    """No direction, that is, that even the proven errors of the rows leave visible."""
    needless = [c for c in comparisons if c.warned and c.pivot > HIDDEN_PIVOT]
    assert not needless


def test_most_networks_need_no_warning(comparisons):
    assert sum(c.warned for c in comparisons) <= 0.05 * len(comparisons)


def test_full_row_rank_is_never_shown_where_the_rank_is_less(comparisons):
    assert any(c.saturated for c in comparisons)
    assert all(c.rank_is_right for c in comparisons if c.saturated)


def test_rank_is_right_unless_it_warns(comparisons):
    assert all(c.rank_is_right for c in comparisons if not c.warned)


def test_ceiling_is_right_to_the_accuracy_of_the_logits(comparisons):
    # Logits of size ≤ 30 (p > 1e-12) and a handful of roundings each: 30 · 2⁻⁵² · 8.
    assert max(c.ceiling_error for c in comparisons) < 30 * 8 * 2**-52


def test_stated_ceiling_leaves_little_room_above_the_exact_one(comparisons):
    # Bounds on the errors of the logits, instead of those errors: a hundred times more.
    assert max(c.ceiling_room for c in comparisons) < 100 * 30 * 8 * 2**-52


def test_full_batch_is_right_unless_it_warns(comparisons):
    assert max(c.full_batch_error for c in comparisons if not c.warned) < RIGHT


def test_per_sample_terms_are_within_the_stated_rounding(comparisons):
    """A term is N·e_i, and the stated rounding bounds Σ|δe_i|; the largest term is ≥ the value."""
    settled = [c for c in comparisons if c.rank_is_right]
    assert all(c.per_sample_error <= c.num_samples * c.stated for c in settled)


def test_an_extreme_network_that_float64_gets_wrong_is_warned_of(drawn):
    wrong = [c for c in drawn if c.kind in EXTREME_KINDS and c.error > 0.5]
    assert len(wrong) >= 2
    assert all(c.warned for c in wrong)
