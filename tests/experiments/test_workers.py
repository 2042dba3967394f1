"""Results come in order, processes have a thread each, and an error ends what has not begun."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from experiments.workers import results_of, workers


def threads():
    return os.getpid(), torch.get_num_threads()


def later(seconds, value):
    time.sleep(seconds)
    return value


def begun(folder, number):
    (folder / str(number)).touch()
    if number == 0:
        raise ValueError("zero")
    time.sleep(0.2)


def test_processes_have_one_thread_each_and_an_error_begins_no_other_job(tmp_path):
    with workers(2) as pool:
        found = results_of(pool, 2, [threads, partial(later, 0.0, 1)], "a", "b")
        assert found[0][0] != os.getpid()
        assert found[0][1] == 1
        assert found[1] == 1
        jobs = [partial(begun, tmp_path, number) for number in range(20)]
        with pytest.raises(ValueError, match="zero"):
            results_of(pool, 2, jobs, "a", "b")
    # One more may have begun where the other of the first two was done with first.
    assert {"0", "1"} <= {path.name for path in tmp_path.iterdir()} <= {"0", "1", "2"}


def test_results_come_in_the_order_of_the_jobs():
    jobs = [partial(later, seconds, seconds) for seconds in (0.2, 0.0, 0.1, 0.0)]
    with ThreadPoolExecutor(3) as pool:
        assert results_of(pool, 3, jobs, "a", "b") == [0.2, 0.0, 0.1, 0.0]
        assert results_of(pool, 3, [], "a", "b") == []


def test_an_interruption_begins_no_other_job():
    seen = []

    def job(number):
        seen.append(number)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        results_of(pool, 1, [partial(job, number) for number in range(5)], "a", "b")
    assert seen == [0]


def test_a_slow_job_holds_no_other_up():
    """Four jobs of a tenth beside one of four tenths: two at a time, half a second at most."""
    order = []

    def job(seconds):
        time.sleep(seconds)
        order.append(seconds)

    with ThreadPoolExecutor(2) as pool:
        results_of(pool, 2, [partial(job, s) for s in (0.4, 0.05, 0.05, 0.05)], "a", "b")
    assert order == [0.05, 0.05, 0.05, 0.4]
