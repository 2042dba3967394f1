"""Fresh processes for what is measured, and what is measured in them: seconds and peak memory."""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Submit = Callable[..., Future]


@contextmanager
def fresh_processes(workers: int, threads: int) -> Iterator[Submit]:
    """Submit jobs to new processes, one a job, whose libraries start with that many threads."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
            yield pool.submit
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def this_process(_workers: int, _threads: int) -> Iterator[Submit]:
    """The same face without a process: for a quick look."""

    def submit(job: Callable, *arguments: object) -> Future:
        future: Future = Future()
        future.set_result(job(*arguments))
        return future

    yield submit


@contextmanager
def threads_kept(threads: int) -> Iterator[None]:
    """So many threads of torch inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Call(NamedTuple):
    """Wall seconds, CPU seconds of the process, and what came back."""

    wall: float
    cpu: float
    value: Any


def timed(run: Callable[[], Any]) -> Call:
    """Call without arguments, warnings aside."""
    wall, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = run()
    return Call(time.perf_counter() - wall, time.process_time() - cpu, value)


def reset_peak() -> int:
    """Bytes in use; from here on the high-water mark of this process counts anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """High-water mark of resident memory: VmHWM, since ru_maxrss is inherited and never falls."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def say(text: str) -> None:
    """How far a run has come."""
    print(text, file=sys.stderr, flush=True)
