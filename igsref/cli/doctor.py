"""``igsref doctor``: what is installed, where it would compute, and whether it computes right."""

import json
from fractions import Fraction
from typing import Annotated, Any

import typer

import igsref
from igsref.cli.failures import NOT_COMPUTED
from igsref.cli.output import show
from igsref.report.environment import in_words, machine, versions
from igsref.vectors import Vector, load

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
    known = found["versions"] | in_words(found["machine"])
    out = [f"{name:<24} {text}" for name, text in known.items()]
    for check in found["checks"]:
        verdict = "right" if check["right"] else "WRONG"
        low, high = check["found"]
        out.append(f"{check['name']:<24} {verdict}: found [{low:.12g}, {high:.12g}]")
    return out
