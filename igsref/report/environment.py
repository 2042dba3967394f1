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
    """Processors, threads, linear algebra, memory in bytes, and CUDA devices with theirs."""
    devices = [torch.device("cuda", k) for k in range(torch.cuda.device_count())]
    libraries = sorted({f"{each['internal_api']} {each['version']}" for each in threadpool_info()})
    return {
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "libraries": libraries,
        "memory": available_memory(torch.device("cpu")),
        "cuda": {torch.cuda.get_device_name(d): available_memory(d) for d in devices},
    }


def in_words(own: dict[str, Any]) -> dict[str, str]:
    """What :func:`machine` found, for a reader."""
    devices = [f"{name}, {readable(free)} free" for name, free in own["cuda"].items()]
    return {
        "system": own["system"],
        "processors, threads": f"{own['processors']}, {own['threads']}",
        "linear algebra": ", ".join(own["libraries"]) or "unknown",
        "memory that is free": readable(own["memory"]),
        "CUDA devices": "; ".join(devices) or "none",
    }
