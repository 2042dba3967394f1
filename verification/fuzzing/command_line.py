"""Command lines for ``igsref``, mostly wrong ones, run in this process."""

import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from igsref.cli import app
from verification.fuzzing.changes import Inapplicable
from verification.fuzzing.files import FileRecipe
from verification.fuzzing.verdict import Outcome

MODULES = {
    "raises": "raise KeyError('import')",
    "leaves": "raise SystemExit(7)",
    "unreadable": "def f(:",
    "recursive": "def f(): return f()\nf()",
    "empty": "",
    "numbers": "f = 3",
}
"""Modules that check can be asked to import; none has a function, which would take minutes."""


@dataclass(frozen=True)
class Line:
    """Words behind ``igsref``; DIR, FILE and NONE stand for a directory, a file and no path.

    files: what lies in DIR.
    """

    words: tuple[str, ...]
    files: FileRecipe

    def without(self, index: int) -> "Line":
        """One word less."""
        return Line((*self.words[:index], *self.words[index + 1 :]), self.files)


def answered(line: Line) -> dict[str, Outcome]:
    """What the command line does; empty where the files cannot be written."""
    with tempfile.TemporaryDirectory() as place, _inside(Path(place)):
        Path("DIR").mkdir()
        Path("FILE").write_text("text")
        for name, text in MODULES.items():
            Path(f"fuzzed_{name}.py").write_text(text)
        try:
            line.files.write(Path("DIR"))
        except Inapplicable:
            return {}
        return {"command line": _outcome(CliRunner().invoke(app, list(line.words)))}


@contextmanager
def _inside(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def _outcome(result) -> Outcome:
    kind = f"exit code {result.exit_code}"
    wrong = []
    if result.exit_code not in (0, 1, 2):
        wrong.append(kind)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        frame = traceback.extract_tb(result.exception.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        wrong.append(f"a traceback: {result.exception!r:.200} at {where}")
    if "Traceback" in result.output:
        wrong.append("a traceback is printed")
    if result.exit_code != 0 and not result.output.strip():
        wrong.append(f"{kind} without a word")
    return Outcome(kind, tuple(wrong))
