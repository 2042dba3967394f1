"""The streamed route beside the one in memory: CPU seconds, agreement, and memory as predicted.

The same network and data twice, at three sizes: all columns of the reduced factor at once, and a
block of columns at a time, on a budget for an eighth of them. Then one job whose factor is four
times as large as the memory that it may use. Every job has a fresh process to itself, on one fixed
number of threads; its peak memory is held against what ``igsref.plan`` predicts.

    python benchmarks/streamed.py [--threads 1] [--markdown] [--quick]
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igsref
from benchmarks.perceptrons import Network, repeated_gaussians, torch_model
from benchmarks.processes import (
    fresh_processes,
    peak,
    reset_peak,
    say,
    this_process,
    threads_kept,
    timed,
)
from experiments.tables import in_markdown, in_plain_text
from igsref.enclosure import Enclosure

IN_MEMORY, STREAMED, LARGE = "in memory", "streamed", "streamed, large"
UNLIMITED = 2**60
BLOCKS = 8
TIMES_ITS_BUDGET = 4
FLOAT64_BYTES = 8
AGREEMENT = 1e-10
WITHIN = (0.5, 1.5)

Shape = tuple[tuple[int, ...], int]
"""Widths of a perceptron, and samples."""

SHAPES: tuple[Shape, ...] = (
    ((32, 160, 160, 160, 5), 50),
    ((32, 160, 160, 160, 160, 5), 100),
    ((32, 180, 180, 180, 5), 150),
)
LARGE_SHAPE: Shape = ((32, 400, 400, 400, 400, 400, 5), 70)
QUICK: tuple[Shape, ...] = (((3, 4, 4, 3), 5), ((3, 4, 5, 3), 6), ((3, 5, 5, 3), 7))
QUICK_LARGE: Shape = ((3, 6, 6, 3), 8)


# One job, in a process of its own.


@dataclass(frozen=True)
class Job:
    """exact_igs on a network with a budget in bytes, and what ``igsref.plan`` says of it."""

    name: str
    network: Network
    plan: igsref.Plan

    @property
    def factor_bytes(self) -> int:
        """Of all rows and columns of the reduced factor."""
        return FLOAT64_BYTES * self.plan.num_rows * self.plan.num_parameters

    @property
    def blocks(self) -> int:
        """At least so many: tensors that fit a block are not cut."""
        return -(-self.plan.num_parameters // self.plan.at_once)


class Reading(NamedTuple):
    """Wall and CPU seconds, bytes that the call added at its peak, IGS and its bracket."""

    seconds: float
    cpu_seconds: float
    memory: int
    found: Enclosure


class Outcome(NamedTuple):
    """What was read of a job; beside: of the one in memory for the same network."""

    job: Job
    own: Reading
    beside: Reading | None

    @property
    def slower(self) -> float:
        """CPU seconds over those in memory."""
        return self.own.cpu_seconds / self.beside.cpu_seconds if self.beside else 1.0

    @property
    def apart(self) -> float:
        """Relative distance from the value in memory."""
        return abs(self.own.found.value / self.beside.found.value - 1) if self.beside else 0.0

    @property
    def memory_ratio(self) -> float:
        """Measured peak over the predicted one."""
        return self.own.memory / self.job.plan.bytes_needed


def planned(network: Network, memory: int) -> igsref.Plan:
    """What exact_igs would do on that budget."""
    data = torch.from_numpy(network.inputs), torch.from_numpy(network.labels)
    return igsref.plan(torch_model(network), data, memory=memory)


def pair(network: Network) -> tuple[Job, Job]:
    """In memory, and streamed on a budget for an eighth of the columns or a little more."""
    whole, least = planned(network, UNLIMITED), planned(network, 1)
    budget = least.bytes_needed + (whole.bytes_needed - least.bytes_needed) // BLOCKS
    return Job(IN_MEMORY, network, whole), Job(STREAMED, network, planned(network, budget))


def beyond_budget(network: Network) -> Job:
    """Streamed, with a fourth of the factor's size, or the least that does, for a budget."""
    size = Job(LARGE, network, planned(network, UNLIMITED)).factor_bytes
    least = planned(network, 1).bytes_needed
    return Job(LARGE, network, planned(network, max(least, size // TIMES_ITS_BUDGET)))


def measure(job: Job, warm_up: Network, threads: int) -> Reading:
    """One call, after one on a tiny network that loads what is loaded once."""
    torch.set_num_threads(threads)
    _exact_igs(warm_up, UNLIMITED)
    before = reset_peak()
    call = timed(lambda: _exact_igs(job.network, job.plan.bytes_available))
    return Reading(call.wall, call.cpu, peak() - before, call.value.enclosure)


def _exact_igs(network: Network, memory: int) -> igsref.Result:
    data = torch.from_numpy(network.inputs), torch.from_numpy(network.labels)
    return igsref.exact_igs(torch_model(network), data, memory=memory)


def run_jobs(jobs: Sequence[Job], warm_up: Network, threads: int, pool: Callable) -> list[Outcome]:
    """One after the other; a streamed one follows the one in memory for the same network."""
    outcomes: list[Outcome] = []
    with pool(1, threads) as submit:
        for job in jobs:
            own = submit(measure, job, warm_up, threads).result()
            beside = outcomes[-1].own if job.name == STREAMED else None
            outcomes.append(Outcome(job, own, beside))
            say(f"{_size(job)}: {job.name}: {own.seconds:.3g} s")
    return outcomes


# The table.


HEADER = (
    "rows × m",
    "route",
    "blocks",
    "seconds",
    "CPU s",
    "÷ in memory",
    "budget MB",
    "predicted MB",
    "peak MB",
    "peak ÷ predicted",
    "IGS",
    "apart",
    "bracket",
)


def table(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Rows of text, one a job."""
    return [HEADER, *map(_row, outcomes)]


def _row(outcome: Outcome) -> tuple[str, ...]:
    job, own, beside = outcome
    return (
        _size(job),
        job.name,
        str(job.blocks),
        f"{own.seconds:.3g}",
        f"{own.cpu_seconds:.3g}",
        f"{outcome.slower:.2f}" if beside else "–",
        "–" if job.name == IN_MEMORY else _megabytes(job.plan.bytes_available),
        _megabytes(job.plan.bytes_needed),
        _megabytes(own.memory),
        f"{outcome.memory_ratio:.2f}",
        f"{own.found.value:.12g}",
        f"{outcome.apart:.0e}" if beside else "–",
        f"{own.found.width / own.found.value:.0e}",
    )


def _size(job: Job) -> str:
    return f"{job.plan.num_rows} × {job.plan.num_parameters}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f}"


def aims(outcomes: Sequence[Outcome]) -> str:
    """Whether the aims of the streamed route are met, in numbers."""
    streamed = [outcome for outcome in outcomes if outcome.beside]
    large = outcomes[-1]
    budget = large.job.plan.bytes_available
    return f"""\
aims
the value in memory, to {AGREEMENT:.0e} of it: {max(outcome.apart for outcome in streamed):.0e}.
{WITHIN[0]} to {WITHIN[1]} × the predicted memory: {_span([o.memory_ratio for o in outcomes])} ×.
a factor of ≥ {TIMES_ITS_BUDGET} × its budget: {large.job.factor_bytes / budget:.2f} ×, done with \
{large.own.memory / budget:.2f} × the budget.
CPU seconds over those in memory: {_span([o.slower for o in streamed])} ×."""


def _span(numbers: Sequence[float]) -> str:
    return f"{min(numbers):.2f} to {max(numbers):.2f}"


FOOTNOTE = """\
seconds: wall time of a call of igsref.exact_igs, with its bracket, after one on a tiny network.
  Every job runs alone in a fresh process on {threads} thread(s).
÷ in memory: ratio of CPU seconds. apart: relative distance from the value in memory.
rows × m: size of the reduced factor. blocks: its columns come in at least so many.
budget: memory=, as given. predicted: igsref.plan(…).bytes_needed.
peak: what the call adds to the resident memory of its process, at its highest.
bracket: (upper − lower)/value."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="of every job (1)")
    parser.add_argument("--markdown", action="store_true", help="a table for a README")
    parser.add_argument("--quick", action="store_true", help="tiny networks, in this process")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    with threads_kept(1):
        outcomes = _outcomes(options)
    layout = in_markdown if options.markdown else in_plain_text
    print(f"{layout(table(outcomes))}\n\n{aims(outcomes)}\n")
    print(FOOTNOTE.format(threads=options.threads))
    say(f"{time.perf_counter() - start:.0f} s in all")


def _outcomes(options: argparse.Namespace) -> list[Outcome]:
    shapes, large, pool = SHAPES, LARGE_SHAPE, fresh_processes
    if options.quick:
        shapes, large, pool = QUICK, QUICK_LARGE, this_process
    jobs = [job for shape in shapes for job in pair(repeated_gaussians(*shape))]
    jobs.append(beyond_budget(repeated_gaussians(*large)))
    return run_jobs(jobs, repeated_gaussians((4, 5, 3), 6), options.threads, pool)


if __name__ == "__main__":
    main()
