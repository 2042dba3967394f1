"""Passes over many blocks: shown as they go, and stopped with a word on what was reached."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

SECONDS_BEFORE_PROGRESS = 2.0
"""A bar is shown only where a pass takes longer."""

Item = TypeVar("Item")


@contextmanager
def interruptible(
    what: str, total: int, so_far: str
) -> Iterator[Callable[[Iterable[Item]], Iterable[Item]]]:
    """A progress bar for a pass over ``total`` blocks; Ctrl-C says how many were done.

    Raises KeyboardInterrupt, with that and ``so_far``, what is known at this stage.
    """
    bars: list[tqdm] = []
    done = 0

    def shown(items: Iterable[Item]) -> Iterable[Item]:
        nonlocal done
        bar = tqdm(
            items,
            total=total,
            desc=what,
            delay=SECONDS_BEFORE_PROGRESS,
            leave=False,
            disable=None if total > 1 else True,
        )
        bars.append(bar)
        # The bar does not count while it is not shown.
        for item in bar:
            yield item
            done += 1

    try:
        yield shown
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted after {done} of {total} {what}; {so_far}") from None
    finally:
        for bar in bars:
            bar.close()
