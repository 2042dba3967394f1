"""Jobs that take seconds to hours, several at a time, each in a process with one thread."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from itertools import islice
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
    pool: Executor, count: int, jobs: Sequence[Callable[[], Result]], what: str, unit: str
) -> list[Result]:
    """What the jobs return, in their order; progress is shown on a terminal.

    count: at a time, the pool's processes. Where a job raises, or the run is interrupted, no other
    one begins: none waits in the pool, which could not be taken back.
    """
    left = iter(enumerate(jobs))
    found: dict[int, Result] = {}
    running: dict[Future[Result], int] = {}

    def begin(some: int) -> None:
        running.update((pool.submit(job), number) for number, job in islice(left, some))

    begin(count)
    with tqdm(total=len(jobs), desc=what, unit=unit, leave=False, disable=None) as bar:
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                found[running.pop(future)] = future.result()
                bar.update()
                begin(1)
    return [found[number] for number in range(len(jobs))]
