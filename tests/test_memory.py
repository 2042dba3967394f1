"""Sizes are said before anything is allocated."""

from types import SimpleNamespace

import pytest
import torch

from igsref.memory import (
    available_memory,
    batch_bytes,
    check_budget,
    readable,
    require_memory,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1.5 * 2**20, "1.5 MiB"),
        (2**40, "1.0 TiB"),
        (2**52, "4.0 PiB"),
        (2**62, "4096.0 PiB"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_that_it_fills(size, text):
    assert readable(size) == text


def test_what_fits_exactly_is_allowed():
    require_memory(1000, 1000, "a matrix", "use less")


def test_what_does_not_fit_is_refused_with_both_sizes_and_advice():
    with pytest.raises(MemoryError, match=r"^a matrix needs 2\.0 KiB, and 1000 B is there; use le"):
        require_memory(2048, 1000, "a matrix", "use less")


def test_a_budget_is_taken_as_it_is():
    assert check_budget(1000, CPU) == 1000


def test_without_a_budget_what_is_free_counts(monkeypatch):
    monkeypatch.setattr("igsref.memory.available_memory", lambda device: 7)
    assert check_budget(None, CPU) == 7


def test_the_cpu_has_some_memory_and_not_all_of_it():
    assert 0 < available_memory(CPU) < 2**60


def test_a_cuda_device_says_itself_what_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 80))
    assert available_memory(torch.device("cuda", 0)) == 5


def test_a_batch_may_take_a_share_of_a_gpu_and_the_same_on_every_cpu(monkeypatch):
    sizes = {torch.device("cuda", 0): 2**37, torch.device("cuda", 1): 2**30}
    monkeypatch.setattr(
        "torch.cuda.get_device_properties",
        lambda device: SimpleNamespace(total_memory=sizes[device]),
    )
    assert batch_bytes(CPU, 2**29) == 2**29
    assert batch_bytes(torch.device("cuda", 0), 2**29) == 2**33
    assert batch_bytes(torch.device("cuda", 1), 2**29) == 2**29
