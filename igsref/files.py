"""Files that are there whole, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_writable(path: Path) -> None:
    """Make its folder; raise OSError, with the path, unless a file can be written there.

    Said before long work, and nothing is left while that goes on.
    """
    if path.is_dir():
        raise OSError(f"path must name a file; {path} is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise OSError(
            f"path must name a file that can be written; {path}: {error.strerror}"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it once all is written; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A name that no other process takes."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")
