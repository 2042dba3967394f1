"""The tracker as a callback of Hugging Face's ``Trainer``; needs ``igsref[huggingface]``.

from igsref.training.hugging_face import TrackerCallback

probe = {"input_ids": ids, "attention_mask": mask, "labels": labels}
callback = TrackerCallback(probe, "igs.csv", every=100, logits="logits")
Trainer(model, args, train_dataset=data, callbacks=[callback]).train()
"""

from typing import Any

from igsref.training.tracked_training import TrackedTraining

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as _error:
    raise ImportError(
        "igsref.training.hugging_face needs transformers: pip install 'igsref[huggingface]'"
    ) from _error


class TrackerCallback(TrackedTraining, TrainerCallback):
    """Measures a fixed set of samples while a ``Trainer`` trains a model.

    Arguments and ``tracker`` are those of :class:`.tracked_training.TrackedTraining`;
    ``logits="logits"`` is for a classifier's structured output.
    """

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Make the tracker, and measure if it is time to."""
        main = state.is_world_process_zero
        self.begin(kwargs["model"], state.global_step, args.device, main=main)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Measure, if it is time to."""
        self.reach(state.global_step)
