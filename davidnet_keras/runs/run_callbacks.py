"""What watches over a run: an end when the loss diverges, checkpoints, and a stop in good order when asked to."""

import keras
import numpy as np

from davidnet_keras.errors import UserError
from davidnet_keras.runs.checkpoint import Progress, not_finite
from davidnet_keras.runs.continued_fit import metric_values, run_state
from davidnet_keras.runs.stop_signals import Interrupted
from davidnet_keras.training.parameter_group import group_of

FIRST_BIAS = "whiten/bias"  # its path in a FastNet
DIVERGED = (
    "The {} became NaN or infinite; start anew with a lower learning rate (bias and head rate too, where they are "
    "given) or a longer warm-up, or continue a single run from its last good checkpoint with a lower rate: "
    "--resume RUN --change-recipe --learning-rate RATE."
)


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
            raise UserError(DIVERGED.format("loss"))


class StopFirstBias(keras.callbacks.Callback):
    """Spares a `FastNet` the gradient of its first bias once the bias' rate has faded to 0, until training ends."""

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)  # under loss scaling
        group = group_of(FIRST_BIAS, optimizer.groups)
        faded = group is not None and group.fade_steps and int(optimizer.iterations) >= group.fade_steps
        self.model.train_first_bias(not faded)

    def on_train_end(self, logs=None):
        self.model.train_first_bias(True)


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves the run after every epoch, and inside one every so many batches and when a signal asks it to stop.

    It must be the last of the callbacks: an epoch that has a checkpoint has then been recorded whole, and what others
    changed for the validation (averaged weights) has been changed back. Weights that are not finite are never saved.

    Args:
        folder: `RunFolder`.
        stop: `StopSignals`, or None.
        every: batches between two checkpoints inside an epoch; None for none.
        drawn_by: what the batches of an epoch follow from, a list of plain values; half an epoch of others is none of
            this. Default: not recorded.

    Raises:
        Interrupted: during training, once the batch is finished and saved, if `stop` has received a signal.
        UserError: the weights became NaN or infinite.
    """

    def __init__(self, folder, stop=None, every=None, drawn_by=None):
        super().__init__()
        self.folder, self.stop, self.every, self.drawn_by = folder, stop, every, drawn_by
        self.callbacks = [self]  # all of the run's, once it is known
        self._metrics = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        seen, steps = batch + 1, self.params["steps"]
        if self._asked_to_stop():
            self._save(Progress(self._epoch, seen))
            self._end(Progress(self._epoch, seen))
        elif self.every and seen % self.every == 0 and seen < steps:  # the epoch's own comes right after its last
            self._save(Progress(self._epoch, seen))

    def on_test_begin(self, logs=None):
        self._metrics = metric_values(self.model)  # of the epoch's training; the validation is about to set them back

    def on_test_batch_end(self, batch, logs=None):
        if self._asked_to_stop():
            self.model.stop_evaluating = True

    def on_test_end(self, logs=None):
        if self._asked_to_stop():
            progress = Progress(self._epoch, self.params["steps"])
            self._save(progress, self._metrics)
            self._end(progress)

    def on_epoch_end(self, epoch, logs=None):
        self._save(Progress(epoch + 1))
        if self._asked_to_stop() and epoch + 1 < self.params["epochs"]:  # else the run is over anyway
            self._end(Progress(epoch + 1))

    def _asked_to_stop(self):
        return self.stop is not None and self.stop.received is not None

    def _save(self, progress, metrics=None):
        wrong = not_finite(self.model)
        if wrong:
            raise UserError(DIVERGED.format(f"weights ({wrong})"))
        state = run_state(self.model, self.callbacks, metrics) | {"drawn_by": self.drawn_by}
        self.folder.save_checkpoint(self.model, progress, state)

    def _end(self, progress):
        raise Interrupted(self.stop.received, progress, self.folder.path)
