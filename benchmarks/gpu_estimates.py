"""What is found by a sketch, and what is estimated of F and H, on a device beside the CPU.

Random signs and sketches are drawn on the CPU, so that both devices estimate from the same ones:

- With every sample on its own and a sketch, a run in float64 ends at the exact IGS, but for
  directions below its cut: 1e-6 of it (tests/measures/test_matrixfree.py).
- As many products as parameters give the trace itself, and unit vectors the first moment.
- Conjugate gradients bound ḡᵀF⁺ḡ from below, and G's upper end from exact_igs holds for both.
"""

from collections.abc import Iterator
from functools import partial

import igsref
from benchmarks.gpu_agreement import SLACK, Beside, Row, guarded

SKETCHED = 1e-6
STEPS = 60


def estimate_rows(pair: Beside) -> Iterator[Row]:
    """A row for each; one that raises is a row that fails, and the others go on."""
    yield from guarded("sketch", partial(_sketched, pair))
    for of in ("fisher", "hessian"):
        yield from guarded(f"trace, {of}", partial(_trace, pair, of))
    yield from guarded("density", partial(_density, pair))
    yield from guarded("conjugate gradients", partial(_solved, pair))


def _sketched(pair: Beside) -> Iterator[Row]:
    exact = igsref.exact_igs(pair.cpu)
    found = igsref.matrixfree_igs(
        pair.device,
        preconditioner="sketch",
        heaviest=pair.cpu.num_samples,
        tolerance=1e-9,
        max_iterations=STEPS,
    )
    off = abs(found.value - exact.value)
    width = exact.upper - exact.lower if exact.grade == "verified" else 0.0
    allowed = SKETCHED * exact.value + width
    yield Row("sketch: value", exact.value, found.value, off, allowed)


def _trace(pair: Beside, of: str) -> Iterator[Row]:
    products = max(4, pair.cpu.num_parameters)
    one, other = (
        igsref.curvature_trace(side, of=of, products=products) for side in (pair.cpu, pair.device)
    )
    size = abs(one.value) + abs(other.value)
    yield Row(f"trace, {of}", one.value, other.value, abs(one.value - other.value), SLACK * size)


def _density(pair: Beside) -> Iterator[Row]:
    """Of two probes, not of all: that of the same signs is the same."""
    one, other = (
        igsref.spectral_density(side, probes=2, steps=4) for side in (pair.cpu, pair.device)
    )
    means = one.moment(1)[0], other.moment(1)[0]
    yield Row("density: first moment", *means, abs(means[0] - means[1]), SLACK * abs(means[0]))


def _solved(pair: Beside) -> Iterator[Row]:
    most = igsref.exact_igs(pair.cpu).full_batch.upper
    found = igsref.fisher_solve(pair.device, max_iterations=STEPS)
    lower = float(found.lower)
    over = max(0.0, lower - most)
    yield Row("conjugate gradients: G, lower", most, lower, over, SLACK * most)
