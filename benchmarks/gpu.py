"""What only a GPU can show: every route agrees with the CPU there, and how long ResNet-18 takes.

    IGSREF_DATA=FOLDER python benchmarks/gpu.py --write docs/gpu.md
    python benchmarks/gpu.py --part agreement
    python benchmarks/gpu.py --device cpu --data synthetic --network resnet8 --train 60 --sizes 4

1. ``agreement``: small networks on the device and on the CPU, with what may differ and why
   (:mod:`benchmarks.gpu_agreement`), and a process group of one.
2. ``figures``: a network is trained for some epochs (or loaded); then, from (model, data) to the
   result, seconds of wall time, synchronised, peak memory of the device, and what is missing to
   the ceiling: certificates of saturation for some numbers of images, one probe of all training
   images, and one probe of each of these numbers.

The exit status is 1 where something disagrees. A page is written on a CUDA device only, and again
after each figure, so that it holds what was measured whatever comes later. Without a CUDA device a
line says so, nothing is written, and the exit status is 0: there is nothing that could have failed.
"""

import argparse
import platform
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import igsref
from benchmarks.gpu_agreement import HEADER, Beside, Row, cases, group_row, rows_of
from benchmarks.gpu_estimates import estimate_rows
from experiments.cifar_igs import DATA, SYNTHETIC, images
from experiments.data import Images
from experiments.files import CorruptFile, DataNotFound
from experiments.networks import NETWORKS
from experiments.tables import in_markdown, in_plain_text
from experiments.training import Trained, train_or_load
from igsref.geometry.compressed import COLUMNS_PER_ROW, saturation_certificate
from igsref.measures.saturation import saturated_igs
from igsref.memory import available_memory, readable

PARTS = ("agreement", "figures")
AIMS = {1000: 120.0, 5000: 180.0}
"""Seconds in which so many images are to be certified."""
SOME_IMAGES_SECONDS = 60.0
"""Of steps that a single probe of some images may take."""
ALL_IMAGES_AIM = 600.0
GAP_AIM = 0.01
"""And all images, by one probe, to that share of the ceiling."""
FIGURES_HEADER = [
    "images",
    "rows",
    "how",
    "seconds",
    "aim",
    "peak",
    "IGS / ceiling",
    "what is shown",
]


class OutOfTime(BaseException):
    """A figure took longer than ``--limit``; no ``except Exception`` on the way may take it."""


@dataclass(frozen=True)
class Figure:
    """One measurement.

    seconds: until it ended, with a result or not. aim: in seconds, 0 where there is none. peak:
    bytes, 0 where it was not measured. saturation: IGS/ceiling, None without a result. shown: what
    the result shows, or why there is none. failed: an error that nobody expects.
    """

    samples: int
    rows: int
    how: str
    seconds: float
    aim: float
    peak: int
    saturation: float | None
    shown: str
    failed: bool = False

    def text(self) -> list[str]:
        """A line of the table."""
        share = "–" if self.saturation is None else f"{self.saturation:.6f}"
        aim = f"{self.aim:.0f}" if self.aim else "–"
        peak = readable(self.peak) if self.peak else "–"
        sizes = [f"{self.samples:,}", f"{self.rows:,}", self.how]
        return [*sizes, f"{self.seconds:.1f}", aim, peak, share, self.shown]


def agreement(device: torch.device) -> Iterator[tuple[str, Row]]:
    """Every row of every network, and a process group of one."""
    cpu = torch.device("cpu")
    pairs = [(case, Beside(case.problem(cpu), case.problem(device))) for case in cases()]
    for case, pair in pairs:
        for row in chain(rows_of(pair, case.saturated), estimate_rows(pair)):
            yield case.name, row
    try:
        yield pairs[0][0].name, group_row(pairs[0][1])
    except RuntimeError as error:
        print(f"processes: left out, {error}", file=sys.stderr)


def figures(chosen: argparse.Namespace, trained: Trained) -> Iterator[Figure]:
    """Certificates for some numbers of images, one probe of all images, then one of these."""
    data, limit = trained.data, chosen.limit
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(chosen.seed))
    parts = []
    for size in chosen.sizes:
        places = order[:size].to(data.labels.device)
        parts.append(replace(data, images=data.images[places], labels=data.labels[places]))
    for some in parts:
        work = partial(certified, trained.model, some.data)
        yield measured(work, some, limit, "certificate", AIMS.get(len(some), 0.0))
    work = partial(one_probe, trained.model, data.data, chosen.max_seconds)
    yield measured(work, data, limit, "one probe", ALL_IMAGES_AIM)
    for some in parts:
        work = partial(one_probe, trained.model, some.data, SOME_IMAGES_SECONDS)
        yield measured(work, some, limit, "one probe", 0.0)


def certified(model: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[igsref.Result | None, str]:
    """The IGS by a certificate of full row rank, or the rank that it shows."""
    problem = igsref.as_problem(model, data)
    certificate = saturation_certificate(problem)
    columns = f"{len(certificate.columns):,} columns"
    if not certificate.full:
        return None, f"{columns} show rank {certificate.rank_lower} of {problem.num_rows} only"
    result = saturated_igs(problem, certificate, f"{columns} show full row rank")
    return result, f"full row rank, {result.grade}, margin {result.margin:.2g}"


def one_probe(
    model: nn.Module, data: tuple[Tensor, Tensor], max_seconds: float
) -> tuple[igsref.Result, str]:
    """All images share one probe: an estimate, statistical over the signs."""
    result = igsref.matrixfree_igs(
        model, data, heaviest=0, full_batch=False, tolerance=GAP_AIM, max_seconds=max_seconds
    )
    last, gap = result.history[-1], 100 * (1 - result.value / result.upper)
    return result, (
        f"gap {gap:.2g}% ± {100 * result.standard_error / result.upper:.2g}% (statistical), "
        f"{last.number} steps in {last.seconds:.0f} s, ended by {result.reason}"
    )


def measured(
    work: Callable[[], tuple[igsref.Result | None, str]],
    data: Images,
    limit: float,
    how: str,
    aim: float,
) -> Figure:
    """Time and memory of some work; too little memory or time is what the row says then."""
    device, failed, saturation = data.labels.device, False, None
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    free = readable(available_memory(device))
    began = synchronised(device)
    try:
        with time_limit(limit):
            result, shown = work()
            saturation = None if result is None else result.saturation
    except (MemoryError, torch.OutOfMemoryError) as error:
        shown = f"no room, {free} were free: {first_line(error)}"
    except OutOfTime:
        shown = f"not done after {limit:g} s"
    except Exception as error:  # whatever a device may raise, the other figures go on
        shown, failed = f"{type(error).__name__}: {first_line(error)}", True
    return Figure(
        samples=len(data),
        rows=len(data) * (data.num_classes - 1),
        how=how,
        seconds=synchronised(device) - began,
        aim=aim,
        peak=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
        saturation=saturation,
        shown=shown,
        failed=failed,
    )


def first_line(error: Exception) -> str:
    """Of its message."""
    return next(iter(str(error).strip().splitlines()), "")


def synchronised(device: torch.device) -> float:
    """The time once all that was asked of a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime after so much wall time; kernels that are under way are waited for."""

    def end(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Card:
    """What it was measured on."""

    name: str
    memory: int
    capability: str
    cuda: str
    torch: str
    python: str


def card(device: torch.device) -> Card:
    """Of a CUDA device."""
    found = torch.cuda.get_device_properties(device)
    return Card(
        name=found.name,
        memory=found.total_memory,
        capability=f"{found.major}.{found.minor}",
        cuda=str(torch.version.cuda),
        torch=torch.__version__,
        python=platform.python_version(),
    )


@dataclass
class Findings:
    """What was found so far, by which command. rows, lines: none of a part that was not run."""

    command: str
    rows: list[tuple[str, Row]] = field(default_factory=list)
    network: str = ""
    lines: list[Figure] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """What disagrees, and what raised."""
        rows = [f"{name}, {row.what}" for name, row in self.rows if not row.ok]
        lines = [f"{line.samples} images, {line.shown}" for line in self.lines if line.failed]
        return rows + lines

    def write(self, path: Path | None, device: torch.device) -> None:
        """A page, of a CUDA device alone."""
        if path is not None and device.type == "cuda":
            path.write_text(self.page(card(device)), encoding="utf-8")

    def page(self, card: Card) -> str:
        """In Markdown."""
        text = [
            "# On a GPU",
            f"{card.name}, {readable(card.memory)}, compute capability {card.capability}; torch "
            f"{card.torch}, CUDA {card.cuda}, Python {card.python}. Written by",
            f"```sh\n{self.command}\n```",
        ]
        if self.rows:
            right = sum(row.ok for _, row in self.rows)
            text += [
                "## Beside the CPU",
                f"{right} of {len(self.rows)} comparisons agree to what rounding allows; "
                "`benchmarks/gpu_agreement.py` says how much that is, and why.",
                in_markdown([HEADER, *(row.text(name) for name, row in self.rows)]),
            ]
        if self.lines:
            text += [
                "## How long it takes",
                f"{self.network}. Wall time in seconds, synchronised, from (model, data) to the "
                "result; peak: what torch allocated on the device. Certificates take "
                f"{COLUMNS_PER_ROW} columns a row.",
                in_markdown([FIGURES_HEADER, *(line.text() for line in self.lines)]),
            ]
        return "\n\n".join(text) + "\n"


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--part", choices=PARTS, action="append", help="one of them (both)")
    parser.add_argument("--write", type=Path, help="a page, from a CUDA device only")
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resnet18")
    parser.add_argument("--data", choices=DATA, default="cifar10")
    parser.add_argument("--train", type=int, default=50_000, help="images, all that there are")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(AIMS), help="to be certified")
    parser.add_argument(
        "--max-seconds", type=float, default=ALL_IMAGES_AIM, help="of steps with all images"
    )
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of any one figure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("out/gpu"), help="where training is kept"
    )
    chosen = parser.parse_args(argv)
    if not all(0 < size <= chosen.train for size in chosen.sizes):
        parser.error(f"--sizes must lie in 1..{chosen.train} (--train); got {chosen.sizes}")
    return chosen


def no_cuda() -> str | None:
    """Why there is no CUDA device, if there is none."""
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"this torch, {torch.__version__}, is built without CUDA"
    return "torch finds no CUDA device"


def trained_network(chosen: argparse.Namespace) -> Trained:
    """Trained on the device, or loaded."""
    try:
        data = images(chosen.data, chosen.train, chosen.seed).to(chosen.device)
        return train_or_load(
            chosen.network, data, epochs=chosen.epochs, seed=chosen.seed, folder=chosen.output
        )
    except (DataNotFound, CorruptFile) as error:
        raise SystemExit(str(error)) from None


def main(argv: list[str] | None = None) -> None:
    """Compare, measure, and print each row as soon as it is there."""
    chosen = parsed(argv)
    device = torch.device(chosen.device)
    reason = no_cuda() if device.type == "cuda" else None
    if reason is not None:
        print(f"no GPU here, so nothing was compared, measured or written: {reason}")
        return
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    found = Findings(command(chosen, sys.argv[1:] if argv is None else argv))
    parts = chosen.part or PARTS
    if "agreement" in parts:
        for name, row in agreement(device):
            found.rows.append((name, row))
            print("  ".join(row.text(name)), file=sys.stderr, flush=True)
        print(in_plain_text([HEADER, *(row.text(name) for name, row in found.rows)]), flush=True)
        found.write(chosen.write, device)
    if "figures" in parts:
        trained = trained_network(chosen)
        found.network = describe(chosen, trained)
        print(f"\n{found.network}", flush=True)
        for line in figures(chosen, trained):
            found.lines.append(line)
            print("  ".join(line.text()), file=sys.stderr, flush=True)
            found.write(chosen.write, device)
        print(in_plain_text([FIGURES_HEADER, *(line.text() for line in found.lines)]))
    if wrong := found.wrong():
        raise SystemExit(f"{len(wrong)} went wrong: {'; '.join(wrong)}")


def command(chosen: argparse.Namespace, argv: list[str]) -> str:
    """How this was called."""
    variable = "" if chosen.data == SYNTHETIC else "IGSREF_DATA=FOLDER "
    return variable + shlex.join(["python", "benchmarks/gpu.py", *argv])


def describe(chosen: argparse.Namespace, trained: Trained) -> str:
    """The network, what it was trained on, and how well it does there."""
    parameters = sum(value.numel() for value in trained.model.parameters())
    return (
        f"{chosen.network}, {parameters:,} parameters, {chosen.epochs} epochs on "
        f"{len(trained.data):,} images of {trained.data.name}: loss {trained.score.loss:.3f}, "
        f"accuracy {100 * trained.score.accuracy:.1f}%"
    )


if __name__ == "__main__":
    main()
