"""What callbacks of training frameworks share: a tracker that is told of optimizer steps."""

from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex, Unpack

import torch
from torch import nn

from igsref.arguments import checked_integer, checked_positive
from igsref.problem import ProblemOptions, refuse_one_shot
from igsref.training.live import bare
from igsref.training.track import ScalarWriter, Tracker

_SHARDED = ("placements", "ds_id", "_fsdp_flattened")
"""Attributes of a parameter that is a DTensor, DeepSpeed ZeRO-3's or FSDP's: a part of itself."""


class TrackedTraining:
    """Measures before the first optimizer step, and after every k-th: where k divides its number.

    data, path, max_seconds, writer, options: as for :class:`igsref.training.Tracker`. device: where
        the framework trains, unless given; data may stay on the CPU.
    every: k, in optimizer steps, however many batches each accumulates.

    tracker: of the training that runs, or ran last; None before it, and in all processes but the
        main one, which alone measures and writes. The others wait for it where they next meet: let
        max_seconds stay below the timeout of the process group.

    A training in mixed precision is measured in float64 all the same, which autocast leaves alone.
    One that resumes from a checkpoint appends to the file, as ``Tracker`` does with ``start``.
    Raises TypeError or ValueError as ``Tracker`` does, most of them when training begins, and
    ValueError for parameters that are sharded over processes.
    """

    data: Any
    path: Path
    every: int
    max_seconds: float
    writer: ScalarWriter | None
    options: ProblemOptions
    tracker: Tracker | None

    def __init__(
        self,
        data: Any,
        path: str | PathLike[str],
        *,
        every: SupportsIndex = 100,
        max_seconds: float = 10.0,
        writer: ScalarWriter | None = None,
        **options: Unpack[ProblemOptions],
    ) -> None:
        self.every = checked_integer("every", every, least=1)
        self.max_seconds = checked_positive("max_seconds", max_seconds)
        refuse_one_shot(data, type(self).__name__)
        self.data, self.path, self.writer, self.options = data, Path(path), writer, options
        self.tracker = None
        self._reached = 0

    def begin(self, model: nn.Module, step: int, device: torch.device, *, main: bool) -> None:
        """Make the tracker of a training after so many steps, and measure if it is time to.

        To be called in all processes; main: whether this is the one that measures.
        """
        _refuse_sharded(model)  # in all processes: one alone would let the others wait
        self.tracker, self._reached = None, step - 1
        if not main:
            return
        options: ProblemOptions = {"device": device, **self.options}
        # every=1: what is due is decided here.
        self.tracker = Tracker(
            model,
            self.data,
            self.path,
            every=1,
            start=step,
            max_seconds=self.max_seconds,
            writer=self.writer,
            **options,
        )
        self.reach(step)

    def reach(self, step: int) -> None:
        """Measure if k divides this step, or one since that of the last call."""
        due = step // self.every > self._reached // self.every
        self._reached = step
        if due and self.tracker is not None:
            self.tracker(step)


def _refuse_sharded(model: nn.Module) -> None:
    for name, value in bare(model).named_parameters():
        if any(hasattr(value, mark) for mark in _SHARDED):
            raise ValueError(
                "model must have whole parameters in the main process, as under "
                f"DistributedDataParallel or DeepSpeed ZeRO-1 and 2; {name} is sharded"
            )
