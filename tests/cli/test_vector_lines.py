"""A line has all that a list of vectors shows; a value that is not decided is an interval."""

from fractions import Fraction

import pytest

from igsref.cli.vector_lines import line
from igsref.vectors import load


@pytest.mark.parametrize("vector", load(), ids=lambda vector: vector.name)
def test_a_line_names_a_vector_with_its_rank(vector):
    name, *words = line(vector).split()
    rank = words[words.index("rank") + 1]
    assert name == vector.name
    assert rank == ("undecided" if vector.expected.rank is None else str(vector.expected.rank))
    low, *high = words[words.index("IGS") + 1].split("–")
    ends = vector.expected.igs.fractions
    if vector.expected.rank is None:
        assert Fraction(low) <= ends[0] and ends[1] <= Fraction(*high)
        assert Fraction(low) > ends[0] * Fraction(999, 1000)
    else:
        assert (float(low), high) == (float(f"{float(ends[0]):.6g}"), [])
    assert line(vector).endswith(", ".join(vector.tags))
