"""What the page on comparing networks shows is what happens."""

import doctest
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "comparing.md"


@pytest.mark.long
def test_figures_of_the_page_are_those_that_it_computes():
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert result.attempted > 20
    assert result.failed == 0
