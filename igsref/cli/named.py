"""``PACKAGE.MODULE:NAME``: what a user's module holds, found from the current directory too."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from igsref.arguments import described
from igsref.cli.failures import BadInput
from igsref.cli.options import FORM
from igsref.conformance.call import told


class NothingNamed(BadInput):
    """A name leads to nothing that can be used; the message says what was tried."""


@contextmanager
def importable(directory: Path) -> Iterator[None]:
    """Modules of the directory can be imported inside, before all others."""
    before = list(sys.path)
    sys.path.insert(0, os.fspath(directory))
    try:
        yield
    finally:
        sys.path[:] = before


def named(text: str) -> Any:
    """What ``package.module:name`` names.

    Raises NothingNamed for a name of another form, a module that cannot be imported, whatever it
    raises, and a name that it has not.
    """
    module_name, colon, attribute = text.partition(":")
    if not (module_name and colon and attribute):
        raise NothingNamed(f"the name must be of the form {FORM}; got {text!r}")
    if "/" in module_name or "\\" in module_name:
        raise NothingNamed(_no_path(text))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if module_name.endswith(".py"):
            raise NothingNamed(_no_path(text)) from error
        raise NothingNamed(
            f"could not import {module_name!r}, searched for in {sys.path[0]} first: {told(error)}"
        ) from error
    if not hasattr(module, attribute):
        where = getattr(module, "__file__", None) or "no file"
        raise NothingNamed(f"{module_name!r} was imported from {where}; it has no {attribute!r}")
    return getattr(module, attribute)


def named_function(text: str) -> Callable[..., Any]:
    """What ``package.module:name`` names, which must be a function.

    Raises NothingNamed as :func:`named` does, and for what cannot be called.
    """
    function = named(text)
    if not callable(function):
        raise NothingNamed(f"{text} must be a function; got {described(function)}")
    return function


def _no_path(text: str) -> str:
    """What to say of a file's path, with the name that would do."""
    path, _, attribute = text.partition(":")
    module = PurePath(path.replace("\\", "/")).name.removesuffix(".py")
    return (
        f"the name must be of the form {FORM}, a module as it is imported and no path; "
        f"got {text!r}. In that file's directory it is {module}:{attribute}"
    )
