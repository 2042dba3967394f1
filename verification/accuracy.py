"""Float64 against the truth: `exact_igs` on the zoo of adversarial networks, kind by kind.

    python verification/accuracy.py --seeds 30

For every network the value in ≥ 50 digits (:mod:`verification.oracle`) beside the float64 one,
beside the uncertainty that the float64 result itself states, and beside the bracket that it gives
(:mod:`verification.brackets`).
"""

import argparse
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flint import arb

import igsref
from verification.brackets import (
    Bracketing,
    bracket_table,
    bracketing,
    exact_ceiling,
    relative,
)
from verification.networks import EXTREME_KINDS, KINDS, Network, as_lists, draw_network
from verification.oracle import OracleError, Truth, to_float, truth

WARNS_FROM = 1e-6
BITS = {"extreme": 2400}


@dataclass(frozen=True)
class Comparison:
    """One network: relative error of the value, and the relative uncertainty that was stated.

    pivot: the smallest pivot of the exactly equilibrated F that the rank rests on, σ² in effect.
    per_sample_error: worst error of g_i F⁺ g_iᵀ relative to the largest of them.
    ceiling_error: of the mean of the samples' ceilings; ceiling_room: how far above the exact one
        the result's ceiling lies, the upper end of an enclosure. Both relative.
    """

    kind: str
    seed: int
    num_samples: int
    error: float
    stated: float
    ceiling_error: float
    ceiling_room: float
    full_batch_error: float
    per_sample_error: float
    rank_is_right: bool
    saturated: bool
    pivot: float
    bracket: Bracketing

    @property
    def warned(self) -> bool:
        """Whether the result came with an AccuracyWarning."""
        return self.stated > WARNS_FROM


@cache
def known(kind: str, seed: int) -> tuple[Network, Truth, arb]:
    """A drawn network, the truth about it, and its exact ceiling."""
    network = draw_network(kind, seed)
    bits = BITS.get(kind, 1200)
    exact = truth(*as_lists(network), bits=bits)
    return network, exact, exact_ceiling(network, exact, bits=bits)


def measured(network: Network) -> igsref.Result:
    """What `exact_igs` says, its warning aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        return igsref.exact_igs(network.model, (network.inputs, network.labels))


def compare(kind: str, seed: int) -> Comparison:
    """Draw one network and hold the float64 result against the oracle's."""
    network, exact, ceiling = known(kind, seed)
    result = measured(network)
    value, full_batch = to_float(exact.value), to_float(exact.full_batch)
    per_sample = [to_float(term) for term in exact.per_sample]
    worst = max(abs(a - b) for a, b in zip(result.per_sample.tolist(), per_sample, strict=True))
    return Comparison(
        kind,
        seed,
        num_samples=result.num_samples,
        error=relative(abs(result.value - value), value),
        stated=relative(result.rounding_error, result.value),
        ceiling_error=abs(float(result.sample_ceiling.mean()) / to_float(ceiling) - 1),
        ceiling_room=result.ceiling / to_float(ceiling) - 1,
        full_batch_error=relative(abs(float(result.full_batch) - full_batch), value),
        per_sample_error=relative(worst, max(per_sample)),
        rank_is_right=result.rank == exact.rank,
        saturated=result.saturated,
        pivot=to_float(exact.smallest_accepted),
        bracket=bracketing(network, result, exact, ceiling),
    )


def table(comparisons: Iterable[Comparison]) -> str:
    """One line per kind: how many, how many warned, the worst errors."""
    by_kind: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        by_kind.setdefault(comparison.kind, []).append(comparison)
    lines = [
        f"{'kind':<16}{'networks':>9}{'saturated':>11}{'warned':>8}{'wrong rank':>12}"
        f"{'median error':>14}{'worst unwarned':>16}{'worst warned':>14}"
    ]
    return "\n".join(lines + [_line(kind, group) for kind, group in by_kind.items()])


def _line(kind: str, group: list[Comparison]) -> str:
    errors = sorted(c.error for c in group)
    unwarned = max((c.error for c in group if not c.warned), default=0.0)
    warned = max((c.error for c in group if c.warned), default=0.0)
    return (
        f"{kind:<16}{len(group):>9}{sum(c.saturated for c in group):>11}"
        f"{sum(c.warned for c in group):>8}{sum(not c.rank_is_right for c in group):>12}"
        f"{errors[len(errors) // 2]:>14.1e}{unwarned:>16.1e}{warned:>14.1e}"
    )


def main(argv: list[str] | None = None) -> None:
    """Print both tables for every kind of network, and name those outside of their bracket."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30, help="networks of each kind")
    seeds = parser.parse_args(argv).seeds
    comparisons = []
    for kind in KINDS + EXTREME_KINDS:
        for seed in range(seeds):
            try:
                comparisons.append(compare(kind, seed))
            except OracleError as error:
                print(f"{kind} {seed}: the oracle gives up: {error}", file=sys.stderr)
    brackets = [comparison.bracket for comparison in comparisons]
    print(f"{len(comparisons)} networks; errors relative to the value\n\n{table(comparisons)}\n")
    print(f"widths relative to the value, below it and above it\n\n{bracket_table(brackets)}")
    for missed in (bracket for bracket in brackets if bracket.outside):
        print(missed)


if __name__ == "__main__":
    main()
