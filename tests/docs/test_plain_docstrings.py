"""Docstrings become reStructuredText that says the same."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def plain():
    spec = importlib.util.spec_from_file_location("plain", DOCS / "_ext" / "plain_docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.plain


def test_arguments_become_fields(plain):
    lines = ["A sum.", "", "a, b: numbers;", "    or more.", "c: another.", "", "Raises an error."]
    fields = [":a, b: numbers;", "    or more.", ":c: another."]
    assert plain(lines) == ["A sum.", "", *fields, "", "Raises an error."]


def test_a_paragraph_that_goes_on_before_an_argument_has_fields_too(plain):
    assert plain(["    since it is.", "b: next."]) == ["    since it is.", ":b: next."]


def test_a_sentence_before_arguments_is_a_paragraph(plain):
    lines = ["Returns a sum.", "low: its end,", "    certain.", "high: the other."]
    assert plain(lines) == [
        "Returns a sum.",
        "",
        ":low: its end,",
        "    certain.",
        ":high: the other.",
    ]


def test_prose_with_a_colon_later_stays(plain):
    lines = ["What is said: all of it.", "so: on."]
    assert plain(lines) == lines


def test_what_looks_like_markup_is_left_as_it_is(plain):
    assert plain(["|x| and λ_ and a*b, not ``a*b`` or :func:`c_`"]) == [
        r"\|x\| and λ\_ and a\*b, not ``a*b`` or :func:`c_`"
    ]


def test_examples_stay(plain):
    lines = [">>> a * b", "x: 3"]
    assert plain(lines) == lines
