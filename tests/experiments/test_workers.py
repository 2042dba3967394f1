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


def test_processes_have_one_thread_each_and_results_their_order():
    with workers(2) as pool:
        found = results_of(
            pool, [threads, partial(later, 0.0, 1), partial(later, 0.0, 2)], "a", "b"
        )
    assert found[0][0] != os.getpid()
    assert found[0][1] == 1
    assert found[1:] == [1, 2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_ends_what_has_not_begun(error):
    begun = []

    def job(number):
        begun.append(number)
        if number == 1:
            raise error("one")
        time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool, pytest.raises(error, match="one"):
        results_of(pool, [partial(job, number) for number in range(20)], "a", "b")
    # The one after it may have begun before the error was seen.
    assert begun[:2] == [0, 1]
    assert len(begun) <= 4
