"""Files that are there whole, or not at all."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_writable(path: Path) -> None:
    """Make its folder; raise OSError, with the path, unless a file can be written there.

    Said before long work, and nothing is left while that goes on.
    """
    target = _target(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(target)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise OSError(
            f"path must name a file that can be written; {path}: {error.strerror}"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it once all is written; its folder is made.

    A symbolic link stays: the file that it leads to is replaced. Raises OSError, with the path,
    for what is there and is no file, a FIFO say: the renaming would put a file in its place.
    """
    target = _target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """The file that a path leads to, through symbolic links; it need not be there."""
    if (kind := _other_kind(path)) is not None:
        raise OSError(f"path must name a file; {path} is {kind}")
    return Path(os.path.realpath(path))


def _other_kind(path: Path) -> str | None:
    """What is there, in words, if it is no file."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        # What else is in the way, is said by the writing.
        return "a loop of symbolic links" if error.errno == errno.ELOOP else None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), None)


def _beside(path: Path) -> Path:
    """A name that no other process takes."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")
