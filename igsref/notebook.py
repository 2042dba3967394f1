"""How a notebook shows a result: the words of its text, as a table."""

from collections.abc import Iterable, Sequence
from html import escape


def html_table(rows: Iterable[Sequence[str]], below: Iterable[str] = ()) -> str:
    """Rows whose first cell names them, and lines of text below the table.

    >>> html_table([("rank", "3 < 4")], ["a note"])
    '<table><tr><th scope="row">rank</th><td>3 &lt; 4</td></tr></table><p>a note</p>'
    """
    body = "".join(_row(name, cells) for name, *cells in rows)
    return f"<table>{body}</table>" + "".join(f"<p>{escape(line)}</p>" for line in below)


def _row(name: str, cells: Sequence[str]) -> str:
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(name)}</th>{shown}</tr>'
