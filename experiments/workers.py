"""Jobs that take seconds to hours, several at a time, each in a process with one thread."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

Result = TypeVar("Result")


def workers(count: int) -> Executor:
    """So many processes."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=one_thread)


def one_thread() -> None:
    """For all that follows in this process: sums are added in one order then, on any machine."""
    torch.set_num_threads(1)
    threadpool_limits(1)


def results_of(
    pool: Executor, jobs: Sequence[Callable[[], Result]], what: str, unit: str
) -> list[Result]:
    """What the jobs return, in their order; progress is shown on a terminal.

    Where one of them raises, or the run is interrupted, those that have not begun never begin.
    """
    futures = [pool.submit(job) for job in jobs]
    try:
        return [
            future.result()
            for future in tqdm(futures, desc=what, unit=unit, leave=False, disable=None)
        ]
    except BaseException:
        for future in futures:
            future.cancel()
        raise
