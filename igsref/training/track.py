"""The IGS of a fixed set of samples while a network trains: a row of a CSV file every k steps.

    tracker = igsref.training.Tracker(model, (x_probe, y_probe), "igs.csv", every=100)
    tracker()                    # step 0, before training
    for x, y in loader:
        ...
        optimizer.step()
        tracker()                # steps 1, 2, 3, ...; measures at 100, 200, 300, ...

A training that goes on from a checkpoint says from which step, ``Tracker(..., start=step)``: the
``tracker.step`` of when it was saved. Its first call is for the weights of the checkpoint.

What is measured is a copy in evaluation mode. The model, its gradients and buffers, and all random
states stay as they are: a training that is tracked ends with the weights of one that is not.
"""

import copy
import csv
import time
import warnings
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, Unpack, runtime_checkable

from torch import nn

from igsref.arguments import check_model, checked_integer, checked_positive
from igsref.files import replacing
from igsref.measures.choose import igs
from igsref.measures.result import Result
from igsref.problem import ProblemOptions, as_problem, refuse_one_shot
from igsref.randomness import preserved_random_state
from igsref.training.live import bare

SCALARS = ("loss", "ceiling", "lower", "value", "upper", "saturation", "rank_lower", "rank_upper")
FIELDS = ("step", "seconds", *SCALARS, "standard_error", "grade", "method", "problem")
"""Columns of the file. problem: why a step was not measured, with empty numbers then."""


@runtime_checkable
class ScalarWriter(Protocol):
    """What ``torch.utils.tensorboard.SummaryWriter`` can do."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Note a number under a name, for a step."""
        ...


class Tracker:
    """Called before the first step and after each one; measures where k divides its number.

    model: what is trained, a ``DistributedDataParallel`` too. data: the fixed samples, as for
        :func:`igsref.igs`; small ones make it quick.
    path: of the CSV file, where each step has one row, and steps rise. A training that begins is
        refused a file with rows beyond step 0. One that goes on appends to its file: rows beyond
        ``start``, left by a run that was cut off after its checkpoint, are taken out, and a step
        that has its row is not measured again.
    every: k, in steps. start: the number of the first call, above 0 where a training goes on.
    max_seconds: that :func:`igsref.igs` may take, which chooses the most exact route that fits. The
        column "seconds" says what it took.
    writer: a TensorBoard writer; the numbers go there too, as igs/loss, igs/value and so on.
    options: likelihood, parameters and so on, as for :func:`igsref.as_problem`.

    last: the result of the last call that measured; None before it, and where it could not.
    step: the number of the last call; ``start`` before it.

    A network that can no longer be measured, as one whose weights are not finite, gets a row that
    says why, and one warning: training goes on. Raises TypeError or ValueError that names the
    argument, as ``as_problem`` does for model, data and options; ValueError for a file with other
    columns, or of another training.
    """

    model: nn.Module
    data: Any
    path: Path
    every: int
    max_seconds: float
    writer: ScalarWriter | None
    options: ProblemOptions
    step: int
    last: Result | None

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        path: str | PathLike[str],
        *,
        every: SupportsIndex = 100,
        start: SupportsIndex = 0,
        max_seconds: float = 10.0,
        writer: ScalarWriter | None = None,
        **options: Unpack[ProblemOptions],
    ) -> None:
        check_model(model)
        self.model, self.data, self.path = bare(model), data, Path(path)
        self.every = checked_integer("every", every, least=1)
        self.step = self._next = checked_integer("start", start, least=0)
        self.max_seconds = checked_positive("max_seconds", max_seconds)
        self.writer, self.options = writer, options
        refuse_one_shot(data, "Tracker")
        self.last = None
        self._warned = False
        with preserved_random_state():  # a check of annotated lists draws from it too
            as_problem(self._frozen(), data, **options)  # what is wrong with them is said now
            self._last_row = _begin(self.path, self.step)

    def __call__(self, step: SupportsIndex | None = None) -> Result | None:
        """Count a step, and measure if it is time to: the result, or None.

        step: its number; the one after the last call's unless given. Raises ValueError for one that
        is not above that of the last call.
        """
        number = self._next if step is None else checked_integer("step", step, least=self._next)
        self.step, self._next = number, number + 1
        due = number % self.every == 0 and number > self._last_row
        return self._measure(number) if due else None

    def _measure(self, step: int) -> Result | None:
        began, problem = time.monotonic(), ""
        self.last = None
        try:
            with preserved_random_state(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # bracket and grade say what they say
                limit = self.max_seconds
                self.last = igs(self._frozen(), self.data, max_seconds=limit, **self.options)
        except (ValueError, ArithmeticError, MemoryError, RuntimeError) as error:
            problem = " ".join(str(error).split())
            self._warn(step, problem)
        self._write(step, time.monotonic() - began, problem)
        return self.last

    def _frozen(self) -> nn.Module:
        return copy.deepcopy(self.model).eval()

    def _warn(self, step: int, problem: str) -> None:
        if not self._warned:
            warnings.warn(f"step {step} was not measured: {problem}", RuntimeWarning, stacklevel=4)
        self._warned = True

    def _write(self, step: int, seconds: float, problem: str) -> None:
        row: dict[str, Any] = {"step": step, "seconds": f"{seconds:.3f}", "problem": problem}
        if self.last is not None:
            for name in (*SCALARS, "standard_error", "grade", "method"):
                row[name] = getattr(self.last, name)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, FIELDS).writerow(row)
        if self.writer is not None and self.last is not None:
            for name in SCALARS:
                self.writer.add_scalar(f"igs/{name}", float(getattr(self.last, name)), step)


def _begin(path: Path, start: int) -> int:
    """Leave a file with the columns and rows up to ``start``; the last one's step, -1 without any.

    A row of step 0 is of another training where one begins.
    """
    header, rows = _read(path)
    steps = _steps(path, rows)
    if start == 0 and max(steps, default=0) > 0:
        raise ValueError(
            f"path must name a new file where a training begins, at step 0; {path} has rows of "
            f"another one, up to step {max(steps)}. Delete it, or give start= where it goes on"
        )
    kept = [row for row, step in zip(rows, steps, strict=True) if 0 < start >= step]
    if not header or kept != rows:
        with replacing(path) as whole, whole.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([FIELDS, *kept])
    return max(_steps(path, kept), default=-1)


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the file; neither, where it is not there or empty."""
    if not path.exists():
        return [], []
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    if header and tuple(header) != FIELDS:
        raise ValueError(
            f"path must be a new file, or one with the columns {','.join(FIELDS)}; "
            f"{path} has {','.join(header)}"
        )
    return header, rows


def _steps(path: Path, rows: list[list[str]]) -> list[int]:
    if any(len(row) != len(FIELDS) or not row[0].isdecimal() for row in rows):
        raise ValueError(
            f"path must name a file whose rows are whole and have steps; {path} has others"
        )
    return [int(row[0]) for row in rows]
