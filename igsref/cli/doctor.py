"""``igsref doctor``: what is installed, where it would compute, and whether it computes right."""

import json
import os
import platform
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import torch
import typer
from threadpoolctl import threadpool_info

import igsref
from igsref.cli.failures import NOT_COMPUTED
from igsref.cli.output import show
from igsref.memory import available_memory, readable
from igsref.vectors import Vector, load

PACKAGES = ("torch", "numpy", "scipy", "python-flint", "safetensors", "jaxtyping", "typer")
EXTRAS = ("matplotlib", "scikit-learn", "pandas", "transformers", "curvlinops-for-pytorch")
CHECKED = 3
"""Of the smallest reference vectors whose rank is decided."""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say what is installed and where it would compute, and measure three networks of known IGS.

    Exit code 0 if their brackets hold the proven values, 1 if not. Example: igsref doctor
    """
    checks = [checked(vector) for vector in smallest()]
    found = {"versions": versions(), "machine": machine(), "checks": checks}
    if as_json:
        show([json.dumps(found)])
    else:
        show(lines(found))
    raise typer.Exit(0 if all(check["right"] for check in checks) else NOT_COMPUTED)


def versions() -> dict[str, str]:
    """Of igsref, Python, what it needs, and what some of its parts can use."""
    found = {"igsref": igsref.__version__, "python": platform.python_version()}
    for name in (*PACKAGES, *EXTRAS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def machine() -> dict[str, Any]:
    """Processors, threads, linear algebra, memory, and CUDA devices."""
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


def smallest() -> list[Vector]:
    """The reference vectors with the fewest numbers, their ranks decided."""

    def size(vector: Vector) -> int:
        return len(vector.inputs) * sum(p.numel() for p in vector.model.parameters())

    decided = [vector for vector in load() if vector.expected.rank is not None]
    return sorted(decided, key=size)[:CHECKED]


def checked(vector: Vector) -> dict[str, Any]:
    """A vector's proven value, and the bracket that is found here."""
    expected = vector.expected.igs
    data = vector.inputs, vector.labels
    result = igsref.exact_igs(vector.model, data, likelihood=vector.likelihood)
    low, high = (Fraction(end) for end in (expected.lower, expected.upper))
    right = Fraction(result.lower) <= low and high <= Fraction(result.upper)
    return {
        "name": vector.name,
        "proven": [expected.lower, expected.upper],
        "found": [result.lower, result.upper],
        "right": right,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """For a reader."""
    own = found["machine"]
    out = [f"{name:<24} {number}" for name, number in found["versions"].items()]
    out += [
        f"{'system':<24} {own['system']}",
        f"{'processors, threads':<24} {own['processors']}, {own['threads']}",
        f"{'linear algebra':<24} {', '.join(own['libraries']) or 'unknown'}",
        f"{'memory that is free':<24} {readable(own['memory'])}",
    ]
    devices = [f"{name}, {readable(free)} free" for name, free in own["cuda"].items()]
    out.append(f"{'CUDA devices':<24} {'; '.join(devices) or 'none'}")
    for check in found["checks"]:
        verdict = "right" if check["right"] else "WRONG"
        low, high = check["found"]
        out.append(f"{check['name']:<24} {verdict}: found [{low:.12g}, {high:.12g}]")
    return out
