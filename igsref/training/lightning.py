"""The tracker as a callback of Lightning's ``Trainer``; needs ``igsref[lightning]``.

from igsref.training.lightning import TrackerCallback

callback = TrackerCallback((x_probe, y_probe), "igs.csv", every=100)
Trainer(callbacks=[callback]).fit(module, loader)
"""

from typing import Any

from igsref.training.tracked_training import TrackedTraining

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import (
        DeepSpeedStrategy,
        FSDPStrategy,
        ModelParallelStrategy,
    )
except ImportError as _error:
    raise ImportError(
        "igsref.training.lightning needs lightning: pip install 'igsref[lightning]'"
    ) from _error

_SHARDING = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


class TrackerCallback(TrackedTraining, Callback):
    """Measures a fixed set of samples while a ``Trainer`` trains a ``LightningModule``.

    Arguments and ``tracker`` are those of :class:`.tracked_training.TrackedTraining`. What the
    module's ``forward`` returns for the inputs of data is measured. Steps are those of
    ``trainer.global_step``, which counts all optimizers' together: with several, one that k divides
    may pass within a batch, and is measured after it, under the number of then. The experiment of a
    ``TensorBoardLogger`` is a writer.

    Raises ValueError, when training begins, under strategies that shard weights, or the optimizer's
    state: FSDP, DeepSpeed and model parallelism.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the tracker, and measure if it is time to."""
        if isinstance(trainer.strategy, _SHARDING):
            raise ValueError(
                "strategy must leave whole weights in every process, as one device and DDP do; "
                f"got {type(trainer.strategy).__name__}"
            )
        step, main = trainer.global_step, trainer.is_global_zero
        self.begin(pl_module, step, pl_module.device, main=main)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Measure, if it is time to."""
        self.reach(trainer.global_step)
