"""Rows of text, laid out."""

from collections.abc import Sequence


def in_plain_text(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width; the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def in_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for a README."""
    rule = ("---", *["---:"] * (len(rows[0]) - 1))
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))
