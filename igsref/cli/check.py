"""``igsref check PACKAGE.MODULE:FUNCTION``: an implementation against the vectors and the laws."""

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Annotated, Any

import typer

from igsref.arguments import described
from igsref.cli.output import show
from igsref.conformance import conformance, report
from igsref.conformance.call import told
from igsref.conformance.invariance import EXAMPLES
from igsref.vectors import load

_FORM = "PACKAGE.MODULE:FUNCTION"


class NoFunction(ValueError):
    """A name does not lead to a function; the message says what was tried."""


def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar=_FORM,
            help="f(model, data) -> number, data = (inputs, labels); found from the current "
            "directory too. It takes likelihood= if it knows more than the categorical one.",
        ),
    ],
    examples: Annotated[
        int, typer.Option(min=1, help="random networks for each transformation")
    ] = EXAMPLES,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="file for all that was found")
    ] = None,
) -> None:
    """Hold your own IGS to the reference vectors and to the law of invariance.

    Exit code 0 if all that was asked is right and all laws hold, 1 if not, 2 for no function or no
    file to write to.
    """
    with _importable(Path.cwd()):
        try:
            function = find_function(name)
        except NoFunction as error:
            typer.echo(f"igsref check: {error}", err=True)
            raise typer.Exit(2) from error
        if json_file is not None:
            _make_file(json_file)
        found = conformance(function, load(), examples=examples)
    show([report(found)])
    if json_file is not None:
        text = json.dumps({"function": name} | found.to_dict(), indent=1, allow_nan=False)
        json_file.write_text(f"{text}\n", encoding="utf-8")
    raise typer.Exit(0 if found.passed else 1)


def _make_file(file: Path) -> None:
    """A file that can be written to, in a directory that exists, before anything takes minutes."""
    try:
        file.open("a").close()
    except OSError as error:
        raise typer.BadParameter(f"--json must name a file that can be written; {error}") from error


@contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """Modules of the directory can be imported inside, before all others."""
    before = list(sys.path)
    sys.path.insert(0, os.fspath(directory))
    try:
        yield
    finally:
        sys.path[:] = before


def find_function(name: str) -> Callable[..., Any]:
    """What ``package.module:function`` names.

    Raises NoFunction for a name of another form, a module that cannot be imported, whatever it
    raises, and a name in it that is missing or nothing to call.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise NoFunction(f"the name must be of the form {_FORM}; got {name!r}")
    if "/" in module_name or "\\" in module_name:
        raise NoFunction(_no_path(name))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if module_name.endswith(".py"):
            raise NoFunction(_no_path(name)) from error
        raise NoFunction(
            f"could not import {module_name!r}, searched for in {sys.path[0]} first: {told(error)}"
        ) from error
    if not hasattr(module, attribute):
        where = getattr(module, "__file__", None) or "no file"
        raise NoFunction(f"{module_name!r} was imported from {where}; it has no {attribute!r}")
    function = getattr(module, attribute)
    if not callable(function):
        raise NoFunction(f"{name} must be a function; got {described(function)}")
    return function


def _no_path(name: str) -> str:
    """What to say of a file's path, with the name that would do."""
    path, _, attribute = name.partition(":")
    module = PurePath(path.replace("\\", "/")).name.removesuffix(".py")
    return (
        f"the name must be of the form {_FORM}, a module as it is imported and no path; "
        f"got {name!r}. In that file's directory: igsref check {module}:{attribute}"
    )
