"""How a notebook shows a result: the words of its text, as a table."""

from collections.abc import Iterable, Sequence
from html import escape

_LEFT = 'style="text-align: left"'
"""Notebooks set cells to the right, as if all were numbers."""


def html_table(rows: Iterable[Sequence[str]], below: Iterable[str] = ()) -> str:
    """Rows whose first cell names them, and lines of text below the table.

    >>> html_table([], ["1 < 2"])
    '<table></table><p>1 &lt; 2</p>'
    """
    body = "".join(_row(name, cells) for name, *cells in rows)
    return f"<table>{body}</table>" + "".join(f"<p>{escape(line)}</p>" for line in below)


def _row(name: str, cells: Sequence[str]) -> str:
    shown = "".join(f"<td {_LEFT}>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row" {_LEFT}>{escape(name)}</th>{shown}</tr>'
