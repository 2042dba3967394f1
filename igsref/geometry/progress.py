"""Passes over many blocks: shown as they go, and stopped with a word on what was reached."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

_SECONDS_BEFORE_PROGRESS = 2.0

Item = TypeVar("Item")


@contextmanager
def interruptible(
    what: str, total: int, so_far: str
) -> Iterator[Callable[[Iterable[Item]], Iterable[Item]]]:
    """A progress bar for a pass over ``total`` blocks; Ctrl-C says how many were done.

    Raises KeyboardInterrupt, with that and ``so_far``, what is known at this stage.
    """
    progress: list[tqdm] = []

    def shown(items: Iterable[Item]) -> Iterable[Item]:
        bar = tqdm(
            items,
            total=total,
            desc=what,
            delay=_SECONDS_BEFORE_PROGRESS,
            leave=False,
            disable=None if total > 1 else True,
        )
        progress.append(bar)
        return bar

    try:
        yield shown
    except KeyboardInterrupt:
        done = progress[-1].n if progress else 0
        raise KeyboardInterrupt(f"interrupted after {done} of {total} {what}; {so_far}") from None
    finally:
        for bar in progress:
            bar.close()
