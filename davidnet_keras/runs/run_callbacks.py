"""Callbacks that guard a run: they end it when the loss diverges, save checkpoints, and obey signals."""

import keras
import numpy as np

from davidnet_keras.errors import UserError
from davidnet_keras.runs.checkpoint import Progress, not_finite
from davidnet_keras.runs.continued_fit import callbacks_state, metric_values
from davidnet_keras.runs.stop_signals import Interrupted

_DIVERGED = (
    "The {} became NaN or infinite; start again with a lower learning rate (bias and head rate too, where they are "
    "given) or a longer warm-up, or continue a single run from its last good checkpoint with a lower rate: "
    "--resume RUN --change-recipe --learning-rate RATE."
)


class StopWhenDiverged(keras.callbacks.Callback):
    """Raises UserError once the loss is not finite, before anything of that epoch is saved.

    `keras.callbacks.TerminateOnNaN` lets the epoch end as usual, so that a checkpoint of NaNs would be written.
    """

    def on_train_batch_end(self, batch, logs=None):
        if batch % 10 == 0:  # reading the loss waits for the device; a mean over the epoch stays NaN
            self._check(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs)  # the validation loss shows what the last update did

    def _check(self, logs):
        if not all(np.isfinite(logs[name]) for name in ("loss", "val_loss") if name in (logs or {})):
            raise UserError(_DIVERGED.format("loss"))


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves the run after every epoch, and inside one every so many batches and when a signal asks it to stop.

    It must be the last of the callbacks: an epoch with a checkpoint has then been recorded in full, and what others
    change for the validation (averaged weights) has been changed back. Weights that are not finite are never saved.

    Args:
        callbacks: list of the run's other callbacks, whose state is saved.
        stop: `StopSignals`; a signal raises Interrupted once the batch is finished and saved.
        every: batches between two checkpoints inside an epoch; None: none inside.
        drawn_by: list of plain values that decide the batches of an epoch.
    """

    def __init__(self, folder, callbacks, stop, every, drawn_by):
        super().__init__()
        self.folder, self.callbacks, self.stop, self.every, self.drawn_by = folder, callbacks, stop, every, drawn_by

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        seen, steps = batch + 1, self.params["steps"]
        if self.stop.received is not None:
            self._save(Progress(self._epoch, seen), end=True)
        elif self.every and seen % self.every == 0 and seen < steps:  # after the last batch comes the epoch's own
            self._save(Progress(self._epoch, seen))

    def on_test_begin(self, logs=None):
        self._metrics = metric_values(self.model)  # of the training epoch; the validation is about to reset them

    def on_test_batch_end(self, batch, logs=None):
        if self.stop.received is not None:
            self.model.stop_evaluating = True

    def on_test_end(self, logs=None):
        if self.stop.received is not None:
            self._save(Progress(self._epoch, self.params["steps"]), self._metrics, end=True)

    def on_epoch_end(self, epoch, logs=None):
        # After the last epoch the run can finish.
        self._save(Progress(epoch + 1), end=self.stop.received is not None and epoch + 1 < self.params["epochs"])

    def _save(self, progress, metrics=None, end=False):
        variable = not_finite(self.model)
        if variable:
            raise UserError(_DIVERGED.format(f"weights ({variable})"))
        state = {
            "metrics": metric_values(self.model) if metrics is None else metrics,
            "callbacks": callbacks_state(self.callbacks),
            "stopped": bool(self.model.stop_training),
            "drawn_by": self.drawn_by,
        }
        self.folder.save_checkpoint(self.model, progress, state)
        if end:
            raise Interrupted(self.stop.received, progress, self.folder.path)
