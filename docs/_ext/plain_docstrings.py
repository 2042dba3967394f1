"""Docstrings as they are written here, for autodoc: arguments as "name: what it is" paragraphs.

Each line of such a paragraph becomes a field of reStructuredText, and what reStructuredText would
take for markup in a formula is left as it is.
"""

import re
from typing import Any

_FIELD = re.compile(r'(?P<names>"?\w+"?(?:, \w+)*): (?P<text>.*)')
_ROLE = re.compile(r"(:\w+:`[^`]*`|``[^`]*``)")


def plain(lines: list[str]) -> list[str]:
    """The same docstring in reStructuredText.

    >>> plain(["A sum.", "", "x: a number, |x| < 1,", "    or more.", "y: another."])
    ['A sum.', '', ':x: a number, \\\\|x\\\\| < 1,', '    or more.', ':y: another.']
    """
    found: list[str] = []
    for paragraph in _paragraphs(lines):
        if paragraph and paragraph[0].startswith(">>>"):
            found += paragraph
        else:
            found += [_escaped(line) for line in _fields(paragraph)]
    return found


def _paragraphs(lines: list[str]) -> list[list[str]]:
    """Lines between empty ones, and these one by one."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        else:
            found += [[line], []]
    return [each for each in found if each]


def _fields(paragraph: list[str]) -> list[str]:
    """Arguments and what continues them as fields, and what stands before them as it is."""
    first = next((k for k, line in enumerate(paragraph) if _FIELD.match(line)), len(paragraph))
    before, after = paragraph[:first], paragraph[first:]
    if before and not before[0].startswith(" "):
        # Prose: a line of it may begin with a word and a colon.
        if not any(line.startswith(" ") for line in after):
            return paragraph
        before = [*before, ""]
    return before + [
        f":{match['names']}: {match['text']}" if (match := _FIELD.match(line)) else _inside(line)
        for line in after
    ]


def _inside(line: str) -> str:
    return line if line.startswith(" ") else f"    {line}"


def _escaped(line: str) -> str:
    """Bars, stars and underscores at a word's end, outside of roles and literals."""
    return "".join(
        part if number % 2 else re.sub(r"([|*])|(?<=\w)(_)(?!\w)", r"\\\1\2", part)
        for number, part in enumerate(_ROLE.split(line))
    )


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""

    def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = plain(lines)

    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
