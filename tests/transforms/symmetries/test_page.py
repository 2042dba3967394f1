"""What the page on symmetries shows is what happens."""

import doctest
from pathlib import Path

import igsref.transforms

PAGE = Path(__file__).resolve().parents[3] / "docs" / "symmetries.md"


def test_the_session_of_the_page_gives_what_it_shows():
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert result.attempted > 10
    assert result.failed == 0


def test_the_page_names_every_symmetry():
    names = [name for name in igsref.transforms.symmetries.__all__ if not name.startswith("draw_")]
    text = PAGE.read_text(encoding="utf-8")
    assert not [name for name in names if name not in text]
