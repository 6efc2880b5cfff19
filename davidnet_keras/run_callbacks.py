"""What watches over a run: an end when the loss diverges, and a checkpoint after every epoch."""

import keras
import numpy as np

from davidnet_keras.errors import UserError


class StopWhenDiverged(keras.callbacks.Callback):
    """Ends training with a UserError once the loss is not finite, before anything of that epoch is saved.

    `keras.callbacks.TerminateOnNaN` lets the epoch end as usual, so that a checkpoint of NaNs would be written.
    """

    def on_train_batch_end(self, batch, logs=None):
        if batch % 10 == 0:  # reading the loss waits for the device; as a mean over the epoch it stays NaN
            self._check(logs, "loss")

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs, "loss", "val_loss")  # the validation's shows what the last update did

    def _check(self, logs, *names):
        if not all(np.isfinite(logs[name]) for name in names if name in (logs or {})):
            raise UserError(
                "The loss became NaN or infinite; start a new run with a lower learning rate or a longer warm-up."
            )


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves the model after every epoch."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        self.folder.save_checkpoint(self.model, epoch + 1)
