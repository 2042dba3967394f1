"""IGS beside its peers: seconds, memory and right digits, measured in one run.

Two networks, each as trained and with its hidden units scaled by 10^(6·N(0,1)), which changes
neither the function nor the exact IGS, up to the rounding of the weights. Every route runs in a
fresh process with one fixed number of threads: the short routes alone on the machine, the long
ones, which form a dense F, once and side by side with each other and with the truths.

The truth uses neither the library nor floating-point linear algebra: see ``truth``.

    python benchmarks/exact.py [--threads 1] [--markdown] [--quick]
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from itertools import product
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igsref
from benchmarks.perceptrons import Data, Network, digits, node_scaled, three_gaussians, torch_model
from benchmarks.processes import (
    fresh_processes,
    peak,
    reset_peak,
    say,
    this_process,
    threads_kept,
    timed,
)
from benchmarks.truth import Truth, right_digits, truth
from experiments.tables import in_markdown, in_plain_text
from igsref.curvature.factor import differences
from igsref.measures.textbook import AUTHORS_RCOND
from verification.peers.textbook import textbook64

REPETITIONS = 5
PATIENCE = 5.0
PEERS = ("torch", "numpy", "scipy", "curvlinops-for-pytorch", "nngeometry", "python-flint")

Run = Callable[[], float | None]


# The routes: (model, data) -> what is timed, a function without arguments.


def value_route(model: nn.Module, data: Data) -> Run:
    """igsref.as_geometry and the energies of the residuals, from model and data: no bracket."""
    return lambda: value_alone(igsref.as_geometry(model, data))


def value_alone(geometry: igsref.Geometry) -> float:
    """IGS = (N_F/N) Σ ‖P v_i‖², the ceiling where P is the identity."""
    problem = geometry.problem
    if geometry.saturated:
        energy = problem.likelihood.ceiling(problem.labelled_logits, problem.targets)
    else:
        energy = geometry.sample_energy(problem.residuals())
    return problem.weight * float(energy.sum())


def igsref_route(model: nn.Module, data: Data) -> Run:
    """igsref.exact_igs, the value with its bracket and the rest, from model and data."""
    return lambda: igsref.exact_igs(model, data).value


def textbook_route(model: nn.Module, data: Data) -> Run:
    """igsref.textbook_igs: dense F and its eigenvectors in float64, the authors' cut."""
    return lambda: textbook64(model, data)


def floor_route(model: nn.Module, data: Data) -> Run:
    """The Jacobian's class differences on a ready Problem and one LAPACK QR of their size."""
    problem = igsref.as_problem(model, data)

    def run() -> None:
        factor = differences(problem)
        tall = factor.mT if factor.shape[0] <= factor.shape[1] else factor
        torch.linalg.qr(tall, mode="r")

    return run


# The peers' modules are imported before any time is taken.


def curvlinops_route(model: nn.Module, data: Data) -> Run:
    """The dense GGN, F·I, then eigh, cut where torch.linalg.pinv cuts: m·ε·λ_max."""
    from verification.peers.curvlinops_dense import curvlinops_dense

    return lambda: curvlinops_dense(model, data)


def nngeometry_route(model: nn.Module, data: Data) -> Run:
    """PMatLowRank and its eigendecomposition, one SVD of the NC × m factor; the same cut."""
    from verification.peers.nngeometry_low_rank import nngeometry_low_rank

    return lambda: nngeometry_low_rank(model, data)


FLOOR, LOW_RANK = "floor: Jacobian + QR", "nngeometry low rank"
VALUE, IGSREF = "igsref value alone", "igsref.exact_igs"
DENSE, TEXTBOOK = "curvlinops + eigh", "igsref.textbook_igs"
SHORT, LONG = (FLOOR, VALUE, IGSREF, LOW_RANK), (DENSE, TEXTBOOK)
ROUTES: dict[str, Callable[[nn.Module, Data], Run]] = {
    FLOOR: floor_route,
    VALUE: value_route,
    IGSREF: igsref_route,
    LOW_RANK: nngeometry_route,
    TEXTBOOK: textbook_route,
    DENSE: curvlinops_route,
}

# Name, route, times faster than the dense route, times the floor.
AIMS = (("value alone", VALUE, 100, 3), ("with bracket", IGSREF, 20, 12))


# Measuring one route, in a process of its own.


@dataclass(frozen=True)
class Measurement:
    """Median wall and CPU seconds of some calls, bytes that the first one added, two values."""

    seconds: float
    cpu_seconds: float
    repetitions: int
    memory: int
    value: float | None
    scaled_value: float | None


def measure(route: str, network: Network, scaled: Network, threads: int) -> Measurement:
    """Time and memory on the network as trained; the value there and on the scaled one.

    The first call shows the memory. If it takes less than PATIENCE seconds it only warms up, and up
    to REPETITIONS others follow, as many as fit in PATIENCE.
    """
    run = _prepared(route, network, threads)
    before = reset_peak()
    first = timed(run)
    memory = peak() - before
    calls = [first] if first.wall >= PATIENCE else []
    while len(calls) < REPETITIONS and sum(call.wall for call in calls) < PATIENCE:
        calls.append(timed(run))
    wall, cpu = (statistics.median(times) for times in zip(*[c[:2] for c in calls], strict=True))
    scaled_value = timed(_prepared(route, scaled, threads)).value
    return Measurement(wall, cpu, len(calls), memory, first.value, scaled_value)


def _prepared(route: str, network: Network, threads: int) -> Run:
    torch.set_num_threads(threads)
    data = torch.from_numpy(network.inputs), torch.from_numpy(network.labels)
    return ROUTES[route](torch_model(network), data)


# The run: short routes one after the other, then long ones and the truths side by side.


@dataclass(frozen=True)
class Case:
    """All that was found for one network: by route, and the truth as trained and scaled."""

    network: Network
    measured: dict[str, Measurement]
    truths: tuple[Truth, Truth]


def run_cases(networks: Sequence[Network], threads: int, jobs: Callable) -> list[Case]:
    """Everything that the table shows."""
    pairs = [(network, node_scaled(network)) for network in networks]
    found: dict[tuple[str, str], Measurement] = {}
    with jobs(1, threads) as submit:
        for route, pair in product(SHORT, pairs):
            future = submit(measure, route, *pair, threads)
            found[route, pair[0].name] = _announced(route, pair[0], future)
    side_by_side = max(1, (os.cpu_count() or 1) // threads)
    with jobs(side_by_side, threads) as submit:
        long = [
            (r, pair[0], submit(measure, r, *pair, threads)) for pair, r in product(pairs, LONG)
        ]
        truths = [[submit(truth, network) for network in pair] for pair in pairs]
        for route, network, future in long:
            found[route, network.name] = _announced(route, network, future)
        exact = [(plain.result(), scaled.result()) for plain, scaled in truths]
    return [
        Case(network, {route: found[route, network.name] for route in ROUTES}, both)
        for network, both in zip(networks, exact, strict=True)
    ]


def _announced(route: str, network: Network, future: Future) -> Measurement:
    result = future.result()
    say(f"{network.name}: {route}: {result.seconds:.3g} s")
    return result


# The table.


HEADER = ("route", "seconds", "CPU s", "÷ floor", "÷ value", "peak MB", "digits", "digits, scaled")


def table(case: Case) -> list[tuple[str, ...]]:
    """Rows of text, one a route."""
    return [HEADER, *(_row(case, route) for route in case.measured)]


def _row(case: Case, route: str) -> tuple[str, ...]:
    own = case.measured[route]
    found = (own.value, own.scaled_value)
    accuracy = [
        "–" if value is None else f"{right_digits(value, exact.value):.1f}"
        for value, exact in zip(found, case.truths, strict=True)
    ]
    cpu = own.cpu_seconds
    ratios = [f"{cpu / case.measured[base].cpu_seconds:.3g}" for base in (FLOOR, VALUE)]
    seconds = f"{own.seconds:.3g}" + (" (once)" if own.repetitions == 1 else "")
    return (route, seconds, f"{cpu:.3g}", *ratios, f"{own.memory / 1e6:.0f}", *accuracy)


def heading(case: Case) -> str:
    """Sizes and truths of a network."""
    network, (plain, scaled) = case.network, case.truths
    widths = [network.inputs.shape[1], *(len(bias) for _, bias in network.layers)]
    moved = abs(Decimal(scaled.value) / Decimal(plain.value) - 1)
    return (
        f"{network.name}: {'-'.join(map(str, widths))} ReLU, m = {network.size}, "
        f"N = {len(network.labels)}. True IGS {plain.value[:18]}, ceiling {plain.ceiling[:18]}, "
        f"rank {plain.rank} of {network.rows} rows; rounding the scaled weights moves the true IGS "
        f"by {moved:.0e} of itself."
    )


def footnote(threads: int) -> str:
    """What was measured, on what, and what the peers were asked for."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    peers = ", ".join(f"{name} {version(name)}" for name in PEERS)
    return f"""\
seconds: wall time; median of {REPETITIONS} calls at most after a warm-up, or the first if long.
  Every route runs in a fresh process on {threads} thread(s) ({machine}):
  alone, but for the two dense ones, which run side by side.
÷ floor, ÷ value: ratios of CPU seconds, to {FLOOR} and to {VALUE}. On one thread
  CPU seconds are the wall time of an otherwise idle machine; far smaller than the seconds beside
  them, they show that something else was running.
peak MB: what the first call adds to the resident memory of its process, at its highest.
digits: −log10 of the relative error against the true IGS of the network as trained, and of the
  same network with every hidden unit scaled by 10^(6·N(0,1)), its weights as rounded; 16 at most.
truth: integer and ball arithmetic (python-flint), not igsref; truth() says what it proves.
{DENSE}: GGNLinearOperator @ identity; eigenvalues up to m·ε·λ_max are cut, as
  torch.linalg.pinv does. {LOW_RANK}: FIM as PMatLowRank, its eigendecomposition
  (one SVD), the same cut; its own solve damps, and repeats the SVD for each gradient.
{IGSREF}: with its bracket, proven for these networks, and bounds on the rank.
{TEXTBOOK}: float64, the authors' cut {AUTHORS_RCOND:g}·λ_max.
{peers}"""


def targets(case: Case) -> str:
    """Whether the aims of the library are met on this network, in numbers."""
    seconds = {route: own.cpu_seconds for route, own in case.measured.items()}
    digits = {
        route: right_digits(own.scaled_value, case.truths[1].value)
        for route, own in case.measured.items()
        if own.scaled_value is not None
    }
    best = max(digits[route] for route in (LOW_RANK, TEXTBOOK, DENSE))
    lines = [
        f"{aim}: ≥ {faster} × faster than the dense route: "
        f"{seconds[DENSE] / seconds[route]:.0f} ×; ≤ {slower} × the floor: "
        f"{seconds[route] / seconds[FLOOR]:.2f} ×; ≥ 10 right digits after scaling: "
        f"{digits[route]:.1f}, the best other {best:.1f}."
        for aim, route, faster, slower in AIMS
    ]
    return "\n".join(["aims", *lines])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="of every timed route (1)")
    parser.add_argument("--markdown", action="store_true", help="tables for a README")
    parser.add_argument("--quick", action="store_true", help="tiny networks, in this process")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    with threads_kept(1):
        _report(options)
    say(f"{time.perf_counter() - start:.0f} s in all")


def _report(options: argparse.Namespace) -> None:
    if options.quick:
        networks, jobs = [three_gaussians((2, 6, 3), 24), digits((64, 3, 10), 12)], this_process
    else:
        networks = [three_gaussians((2, 70, 70, 3), 300), digits((64, 32, 10), 100)]
        jobs = fresh_processes
    layout = in_markdown if options.markdown else in_plain_text
    for case in run_cases(networks, options.threads, jobs):
        print(f"{heading(case)}\n\n{layout(table(case))}\n\n{targets(case)}\n")
    print(footnote(options.threads))


if __name__ == "__main__":
    main()
