"""Figure 1's stored network: the page's certified digits are those that float64 agrees with."""

import re
from fractions import Fraction
from pathlib import Path

import igsref
from verification.figure_1 import stored_network

PAGE = Path(__file__).parents[2] / "docs" / "certified.md"


def test_float64_and_its_bracket_agree_with_the_certified_digits_of_the_page():
    """Certifying takes minutes; what it printed is held against the bracket here."""
    text = PAGE.read_text()
    low, high = map(Fraction, re.search(r"^IGS +\[(\S+), (\S+)\]", text, re.MULTILINE).groups())
    rank = int(re.search(r"^rank +(\d+) ", text, re.MULTILINE).group(1))
    assert 0 < high - low < low / 10**25
    result = igsref.exact_igs(*stored_network())
    assert result.lower <= low and high <= result.upper
    assert result.rank_lower <= rank <= result.rank_upper
