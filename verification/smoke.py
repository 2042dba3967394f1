"""Is an installed igsref whole? Known values, the files beside the code, and what it pulls in.

    make dist
    cd SOMEWHERE && python CHECKOUT/verification/smoke.py

It needs nothing but the library, and ends with exit code 1 where a value lies outside its proven
interval, where the library came from this checkout and not from where it was installed, or where
importing it loads what only its extras need.
"""

import sys
import time
import warnings
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
EXTRAS = ("matplotlib", "jinja2", "typer", "hypothesis", "transformers")
LARGEST = 200
"""Parameters of the reference networks that are measured."""


def import_times() -> tuple[float, float]:
    """Seconds that importing torch takes, and igsref after it."""
    began = time.perf_counter()
    import torch  # noqa: F401

    between = time.perf_counter()
    import igsref  # noqa: F401

    return between - began, time.perf_counter() - between


def faults(checkout: Path = CHECKOUT) -> list[str]:
    """What is wrong with the library that ``import igsref`` finds."""
    import igsref
    from igsref.vectors import load

    found = []
    where = Path(igsref.__file__).resolve()
    if where.is_relative_to(checkout / "igsref"):
        found.append(f"igsref was imported from the checkout, {where}")
    if igsref.__version__ != version("igsref"):
        found.append(f"igsref says {igsref.__version__}, its package {version('igsref')}")
    loaded = [name for name in EXTRAS if name in sys.modules]
    if loaded:
        found.append(f"importing igsref loads {', '.join(loaded)}")
    # Where the rank is undecided, the proven interval is as wide as the bracket that is found.
    vectors = [v for v in load() if v.expected.rank is not None and _size(v.model) <= LARGEST]
    if not vectors:
        found.append("it has no reference networks")
    for vector in vectors:
        data = vector.inputs, vector.labels
        with warnings.catch_warnings():
            # Some are hard on purpose; their brackets must hold all the more.
            warnings.simplefilter("ignore", igsref.AccuracyWarning)
            result = igsref.exact_igs(vector.model, data, likelihood=vector.likelihood)
        low, high = Fraction(vector.expected.igs.lower), Fraction(vector.expected.igs.upper)
        if not (Fraction(result.lower) <= low and high <= Fraction(result.upper)):
            found.append(f"{vector.name}: [{result.lower}, {result.upper}] misses its proven value")
    return found


def _size(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    """Say the versions and times, and what is wrong."""
    torch_seconds, own_seconds = import_times()
    found = faults()
    names = ("igsref", "torch", "numpy", "scipy")
    print(f"python {sys.version.split()[0]}, " + ", ".join(f"{n} {version(n)}" for n in names))
    print(f"import torch {torch_seconds:.2f} s, import igsref after it {own_seconds:.3f} s")
    for fault in found:
        print(f"WRONG: {fault}")
    print("whole" if not found else f"{len(found)} faults")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
