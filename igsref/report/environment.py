"""What a number was computed with: versions, processors, libraries, memory, devices."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from threadpoolctl import threadpool_info

from igsref.memory import available_memory, readable

PACKAGES = ("igsref", "torch", "numpy", "scipy", "python-flint", "safetensors", "jaxtyping")
EXTRAS = ("typer", "matplotlib", "scikit-learn", "pandas", "transformers", "curvlinops-for-pytorch")


def versions() -> dict[str, str]:
    """Of igsref, Python, what it needs, and what some of its parts can use."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *EXTRAS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def machine() -> dict[str, Any]:
    """Processors, threads, linear algebra, memory that is free, and CUDA devices; in bytes.

    Of the devices all memory, not what is free: that question alone would start a CUDA context,
    which takes memory, on each of them, in use or not.
    """
    devices = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
    named = [(each["internal_api"], each["version"]) for each in threadpool_info()]
    return {
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "libraries": sorted({" ".join(filter(None, each)) for each in named}),
        "memory": available_memory(torch.device("cpu")),
        "cuda": [{"name": each.name, "memory": each.total_memory} for each in devices],
    }


def in_words(own: dict[str, Any]) -> dict[str, str]:
    """What :func:`machine` found, for a reader."""
    devices = [f"{each['name']}, {readable(each['memory'])}" for each in own["cuda"]]
    return {
        "system": own["system"],
        "processors, threads": f"{own['processors']}, {own['threads']}",
        "linear algebra": ", ".join(own["libraries"]) or "unknown",
        "memory that is free": readable(own["memory"]),
        "CUDA devices": "; ".join(devices) or "none",
    }
