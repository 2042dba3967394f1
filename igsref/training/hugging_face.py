"""The tracker as a callback of Hugging Face's ``Trainer``; needs ``igsref[huggingface]``.

from igsref.training.hugging_face import TrackerCallback

probe = {"input_ids": ids, "attention_mask": mask, "labels": labels}
callback = TrackerCallback(probe, "igs.csv", every=100, logits="logits")
Trainer(model, args, train_dataset=data, callbacks=[callback]).train()
"""

from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex, Unpack

from torch import nn

from igsref.arguments import checked_integer, checked_positive
from igsref.problem import ProblemOptions, refuse_one_shot
from igsref.training.live import bare
from igsref.training.track import ScalarWriter, Tracker

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as _error:
    raise ImportError(
        "igsref.training.hugging_face needs transformers: pip install 'igsref[huggingface]'"
    ) from _error

_SHARDED = ("placements", "ds_id", "_fsdp_flattened")
"""Attributes of a parameter that is a DTensor, DeepSpeed ZeRO-3's or FSDP's: a part of itself."""


class TrackerCallback(TrainerCallback):
    """Measures before the first optimizer step, and after every k-th: where k divides its number.

    data, path, max_seconds, writer, options: as for :class:`igsref.training.Tracker`;
        ``logits="logits"`` for a classifier's structured output. device: where the Trainer
        trains, unless given; data may stay on the CPU.
    every: k, in optimizer steps, however many batches each accumulates.

    tracker: of the training that runs, or ran last; None before it, and in all processes but the
        main one, which alone measures and writes. The others wait for it where they next meet: let
        max_seconds stay below the timeout of the process group.

    A training in mixed precision is measured in float64 all the same, which autocast leaves alone.
    One that resumes from a checkpoint appends to the file; steps after the checkpoint that ran
    before it was resumed have a second row then. Raises TypeError or ValueError as ``Tracker``
    does, most of them when training begins, and ValueError for parameters that are sharded over
    processes.
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
        refuse_one_shot(data, "TrackerCallback")
        self.data, self.path, self.writer, self.options = data, Path(path), writer, options
        self.tracker = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Make the tracker, and measure unless a training goes on whose last step has its row."""
        model: nn.Module = kwargs["model"]
        _refuse_sharded(model)  # in all processes: one alone would let the others wait
        self.tracker = None
        if not state.is_world_process_zero:
            return
        goes_on = state.global_step > 0 and self.path.exists()
        options: ProblemOptions = {"device": args.device, **self.options}
        # every=1: a step's number decides, so that they are the same steps after resuming.
        self.tracker = Tracker(
            model,
            self.data,
            self.path,
            every=1,
            max_seconds=self.max_seconds,
            writer=self.writer,
            **options,
        )
        if not goes_on:
            self.tracker(state.global_step)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Measure, if it is time to."""
        if self.tracker is not None and state.global_step % self.every == 0:
            self.tracker(state.global_step)


def _refuse_sharded(model: nn.Module) -> None:
    for name, value in bare(model).named_parameters():
        if any(hasattr(value, mark) for mark in _SHARDED):
            raise ValueError(
                "model must have whole parameters in the main process, as under "
                f"DistributedDataParallel or DeepSpeed ZeRO-1 and 2; {name} is sharded"
            )
