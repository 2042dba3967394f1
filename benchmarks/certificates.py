"""What it takes to show that a network is saturated: wall seconds and peak memory.

    IGSREF_DATA=FOLDER python benchmarks/certificates.py
    python benchmarks/certificates.py --data synthetic --train 40 --epochs 1 --jobs resnet8:6

A job is NETWORK:SAMPLES; each runs in a process of its own. The Jacobian that is not formed would
take 8·n·m bytes in float64.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import igsref
from benchmarks.growth import first_samples
from benchmarks.processes import fresh_processes, peak, reset_peak, threads_kept, timed
from experiments.cifar_igs import DATA, images
from experiments.tables import in_plain_text
from experiments.training import train_or_load
from igsref.geometry.compressed import saturation_certificate
from igsref.memory import readable

JOBS = ("resnet8:300", "resnet18:60")
HEADER = ["network", "N", "rows", "m", "Jacobian", "full", "wall s", "CPU s", "peak"]


class Job(NamedTuple):
    """A network, trained or loaded by these settings, and how many of its images."""

    network: str
    samples: int
    data: str
    train: int
    epochs: int
    output: Path


def certified(job: Job, threads: int) -> list[str]:
    """A row of the table. The peak is what the process holds above what it held before."""
    data = images(job.data, job.train, seed=0)
    trained = train_or_load(
        job.network, data, epochs=job.epochs, learning_rate=0.01, folder=job.output
    )
    problem = igsref.as_problem(trained.model, first_samples(trained, job.samples))
    with threads_kept(threads):
        before = reset_peak()
        call = timed(lambda: saturation_certificate(problem))
    n, m = problem.num_rows, problem.num_parameters
    full = f"{'yes' if call.value.full else 'no'}, {call.value.grade}"
    sizes = [str(job.samples), str(n), str(m), readable(8 * n * m)]
    taken = [f"{call.wall:.0f}", f"{call.cpu:.0f}", readable(peak() - before)]
    return [job.network, *sizes, full, *taken]


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), metavar="NETWORK:SAMPLES")
    parser.add_argument("--data", choices=DATA, default="cifar10")
    parser.add_argument("--train", type=int, default=1000, help="images they are trained on")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path("out/certificates"))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """One job after the other, then the table."""
    chosen = parsed(argv)
    settings = (chosen.data, chosen.train, chosen.epochs, chosen.output)
    pairs = [job.split(":") for job in chosen.jobs]
    with fresh_processes(1, chosen.threads) as submit:
        jobs = [Job(network, int(samples), *settings) for network, samples in pairs]
        rows = [submit(certified, job, chosen.threads).result() for job in jobs]
    print(in_plain_text([HEADER, *rows]))
    print(f"{chosen.threads} threads; {chosen.data}, {chosen.train} images, {chosen.epochs} epochs")


if __name__ == "__main__":
    main()
