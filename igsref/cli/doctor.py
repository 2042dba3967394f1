"""``igsref doctor``: what is installed, where it would compute, and whether it computes right."""

import json
from typing import Any

import typer

from igsref.cli.failures import NOT_COMPUTED, one_sentence
from igsref.cli.options import AsJson, Debug
from igsref.cli.output import show


def doctor(as_json: AsJson = False, debug: Debug = False) -> None:
    """Say what is installed and where it would compute, and measure three networks of known IGS.

    Exit code 0 if their brackets hold the proven values, 1 if not.

    Example: igsref doctor
    """
    with one_sentence("doctor", debug):
        # These take torch, which --help does without.
        from igsref.cli.known import checked, smallest
        from igsref.report.environment import in_words, machine, versions

        checks = [checked(vector) for vector in smallest()]
        if as_json:
            show([json.dumps({"versions": versions(), "machine": machine(), "checks": checks})])
        else:
            show(lines(versions() | in_words(machine()), checks))
    raise typer.Exit(0 if all(check["right"] for check in checks) else NOT_COMPUTED)


def lines(known: dict[str, str], checks: list[dict[str, Any]]) -> list[str]:
    """For a reader."""
    out = [f"{name:<24} {text}" for name, text in known.items()]
    for check in checks:
        verdict = "right" if check["right"] else "WRONG"
        low, high = check["found"]
        out.append(f"{check['name']:<24} {verdict}: found [{low:.12g}, {high:.12g}]")
    return out
