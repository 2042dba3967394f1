"""The IGS of a fixed set of samples while a network trains: a row of a CSV file every k steps.

    tracker = igsref.training.Tracker(model, (x_probe, y_probe), "igs.csv", every=100)
    for x, y in loader:
        ...
        optimizer.step()
        tracker()

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
    """Called once a step; measures at the first and at every k-th after it.

    model: what is trained, a ``DistributedDataParallel`` too. data: the fixed samples, as for
        :func:`igsref.igs`; small ones make it quick.
    path: of the CSV file; rows are appended to one with the same columns, so that a training that
        goes on goes on there too.
    every: k, in calls. max_seconds: that :func:`igsref.igs` may take, which chooses the most exact
        route that fits. The column "seconds" says what it took.
    writer: a TensorBoard writer; the numbers go there too, as igs/loss, igs/value and so on.
    options: likelihood, parameters and so on, as for :func:`igsref.as_problem`.

    last: the result of the last call that measured; None before it, and where it could not.

    A network that can no longer be measured, as one whose weights are not finite, gets a row that
    says why, and one warning: training goes on. Raises TypeError or ValueError that names the
    argument, as ``as_problem`` does for model, data and options; ValueError for a file with other
    columns.
    """

    model: nn.Module
    data: Any
    path: Path
    every: int
    max_seconds: float
    writer: ScalarWriter | None
    options: ProblemOptions
    calls: int
    last: Result | None

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        path: str | PathLike[str],
        *,
        every: SupportsIndex = 100,
        max_seconds: float = 10.0,
        writer: ScalarWriter | None = None,
        **options: Unpack[ProblemOptions],
    ) -> None:
        check_model(model)
        self.model, self.data, self.path = bare(model), data, Path(path)
        self.every = checked_integer("every", every, least=1)
        self.max_seconds = checked_positive("max_seconds", max_seconds)
        self.writer, self.options = writer, options
        refuse_one_shot(data, "Tracker")
        with preserved_random_state():
            as_problem(self._frozen(), data, **options)  # what is wrong with them is said now
        self.calls = 0
        self.last = None
        self._warned = False
        _begin(self.path)

    def __call__(self, step: int | None = None) -> Result | None:
        """Count a step, and measure if it is time to: the result, or None.

        step: its number, for the row; the number of calls before this one unless given.
        """
        number = self.calls if step is None else step
        due = self.calls % self.every == 0
        self.calls += 1
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


def _begin(path: Path) -> None:
    """A file with its columns: this one, if it has them, or a new one."""
    header = ",".join(FIELDS)
    if path.exists() and path.stat().st_size:
        with path.open(encoding="utf-8") as file:
            found = file.readline().strip()
        if found != header:
            raise ValueError(
                f"path must be a new file, or one with the columns {header}; {path} has {found}"
            )
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(FIELDS)
