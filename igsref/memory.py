"""Memory is predicted before it is allocated."""

from typing import SupportsIndex

import psutil
import torch

from igsref.arguments import checked_integer

FLOAT64_BYTES = 8


def available_memory(device: torch.device) -> int:
    """Bytes that can be allocated on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def batch_bytes(device: torch.device, on_cpu: int) -> int:
    """Bytes that the temporaries of a batch may take: on CUDA at least a 16th of all there is.

    Small batches keep a CPU's caches warm, and leave a GPU idle. Not of what is free, so that sums
    over batches are the same in every run on a device.
    """
    if device.type != "cuda":
        return on_cpu
    return max(on_cpu, torch.cuda.get_device_properties(device).total_memory // 16)


def readable(size: int | float) -> str:
    """Bytes for people.

    >>> readable(3 * 2**30)
    '3.0 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} PiB"


def readable_time(seconds: float) -> str:
    """Seconds for people.

    >>> readable_time(5400.0)
    '1.5 h'
    """
    for unit, size in (("s", 60), ("min", 60), ("h", 24)):
        if seconds < size:
            return f"{seconds:.2g} {unit}"
        seconds /= size
    return f"{seconds:.2g} days"


def require_memory(needed: int, budget: int, what: str, advice: str) -> None:
    """Raise MemoryError, with the sizes and what to do instead, where needed > budget."""
    if needed > budget:
        raise MemoryError(
            f"{what} needs {readable(needed)}, and {readable(budget)} is there; {advice}"
        )


def check_budget(memory: SupportsIndex | None, device: torch.device) -> int:
    """The user's budget in bytes, or what the device has free.

    Raises ValueError for a budget that is not positive, TypeError for one that is no integer.
    """
    if memory is None:
        return available_memory(device)
    return checked_integer("memory, in bytes,", memory, least=1)
