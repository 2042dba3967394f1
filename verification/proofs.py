"""Every claim of the mathematics, checked: proved, with a correction, refuted or measured.

    python verification/proofs.py                         # the table
    python verification/proofs.py --write docs/claims.md  # and the page made of it

Ctrl-C prints what was reached.
"""

import argparse
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from verification.claims import CLAIMS, Claim, Disproved
from verification.claims.claim import Status

SYMBOLS = """\
| symbol | |
|---|---|
| N, C, m | samples, classes, parameters θ |
| f_i, J_i | logits of sample i, C of them, and their Jacobian ∂f_i/∂θ, C × m |
| p_i, y_i, e_y | softmax of f_i; the label, and its unit vector; p_y is p_{i,y_i} |
| l_i, g_i | loss −log p_y and its gradient (p_i − e_y)ᵀJ_i, a row |
| Λ_i, M_i | output metric diag(p_i) − p_i p_iᵀ, and its factor, Λ_i = M_iᵀM_i |
| A, F | the stack of all M_iJ_i, NC × m or reduced to N(C − 1) rows; F = AᵀA/N, the Fisher matrix |
| F⁺, P, h | pseudo-inverse of F; orthogonal projector onto range A, and its diagonal |
| v_i | whitened residual of sample i, g_i = v_iᵀA, 0 but on the rows of i |
| IGS, ceiling | (1/N) Σ g_i F⁺ g_iᵀ = Σ v_iᵀPv_i; Σ ‖v_i‖² = Σ expm1(l_i) |
| G, IGS_b | ḡF⁺ḡᵀ of the mean gradient ḡ; the mean of that over batches of size b |
| D, K | class differences of the J_i, stacked: A = blockdiag(L_iᵀ)D, L_iL_iᵀ the metric; K = DDᵀ |
| H, C | in what is about the Hessian and TIC: of the mean loss; (1/N) Σ g_iᵀg_i |
| Φ, T | Jacobian of a change of parameters θ' = φ(θ); a matrix that A is multiplied by |

Where a claim gives one of these letters another meaning, it says so.
"""


@dataclass(frozen=True)
class Checked:
    """A claim with what its check said, in how many seconds; evidence None where it failed."""

    claim: Claim
    evidence: str | None
    failure: str
    seconds: float


def checked(claim: Claim) -> Checked:
    """Run one claim's check."""
    start = time.perf_counter()
    try:
        evidence, failure = claim.check(), ""
    except Disproved as error:
        evidence, failure = None, str(error)
    return Checked(claim, evidence, failure, time.perf_counter() - start)


def table(results: Iterable[Checked]) -> str:
    """A line for every claim: source, status, by what, seconds, statement."""
    lines = [f"{'claim':<40} {'source':<18} {'status':<25} {'by':<27} {'s':>6}"]
    for result in results:
        claim = result.claim
        status = claim.status if result.evidence is not None else "CHECK FAILED"
        lines.append(
            f"{claim.name:<40} {claim.source:<18} {status:<25} {claim.means:<27} "
            f"{result.seconds:>6.1f}"
        )
        lines += [f"    {result.failure}"] if result.failure else []
    return "\n".join(lines)


def counted(results: Sequence[Checked]) -> str:
    """How many claims there are of each status."""
    counts = Counter(result.claim.status for result in results)
    return f"{len(results)} claims: " + ", ".join(f"{counts[s]} {s}" for s in get_args(Status))


def page(results: Sequence[Checked]) -> str:
    """docs/claims.md: the table without seconds, then a paragraph for every claim."""
    intro = (
        "Written by `python verification/proofs.py --write docs/claims.md` (`make proofs`). "
        "Numbers in brackets are the equations of Jang, Lee, Park and Noh (NeurIPS 2022). "
        f"{counted(results)}."
    )
    reading = (
        "The proof for every C and every network is the paragraph, for people to read. What the "
        "machine did stands under *Checked*: identities with symbols, for C = 2, 3, 4 where they "
        "depend on C; exact rational or ball arithmetic on finitely many instances, which proves a "
        "counterexample and tests a theorem; or a simulation, which measures within its standard "
        "error and proves nothing: its claim is called measured, as is what was seen of one "
        "network only. Each check has mutations, a sign flipped or a hypothesis dropped, with "
        "which it must fail and does (`tests/verification/claims/`)."
    )
    head = [
        "# Claims",
        "",
        textwrap.fill(intro, 100, break_on_hyphens=False),
        "",
        textwrap.fill(reading, 100, break_on_hyphens=False),
        "",
        SYMBOLS,
        "| claim | source | status | by |",
        "|---|---|---|---|",
    ]
    rows = [
        f"| [{r.claim.name}](#{r.claim.name}) | {r.claim.source} | {r.claim.status} | "
        f"{r.claim.means} |"
        for r in results
    ]
    return "\n".join([*head, *rows, *(_section(result) for result in results)]) + "\n"


def _section(result: Checked) -> str:
    claim = result.claim
    parts = [
        f"\n## {claim.name}\n",
        f"{claim.statement}\n",
        f"*{claim.source}; {claim.status}, by {claim.means}.* {claim.argument}\n",
    ]
    if claim.counterexample:
        parts.append(f"**Counterexample.** {claim.counterexample}\n")
    return "\n".join([*parts, f"Checked: {result.evidence}."])


def run(claims: Sequence[Claim]) -> list[Checked]:
    """Check claims one after the other; what was reached, if interrupted."""
    results: list[Checked] = []
    try:
        for claim in tqdm(claims, unit="claim", delay=2.0, leave=False):
            results.append(checked(claim))
    except KeyboardInterrupt:
        print(f"interrupted after {len(results)} of {len(claims)} claims")
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a check failed or was not reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the page here")
    parser.add_argument("--only", metavar="TEXT", default="", help="claims whose name has this")
    options = parser.parse_args(argv)
    claims = [claim for claim in CLAIMS if options.only in claim.name]
    if not claims:
        parser.error(f"--only {options.only!r} matches none of {[c.name for c in CLAIMS]}")
    if options.write and options.only:
        parser.error("--write makes the page of all claims; leave --only away")
    results = run(claims)
    print(table(results))
    whole = len(results) == len(claims) and all(r.evidence is not None for r in results)
    failed = sum(result.evidence is None for result in results)
    print(f"{counted(results)}; {failed} checks failed")
    if options.write and whole:
        options.write.write_text(page(results), encoding="utf-8")
        print(f"written to {options.write}")
    return 0 if whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
