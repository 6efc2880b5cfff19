"""Measure images per second, and the time to a target accuracy."""

import math

import keras

from .history_file import columns_from, rows_before
from .metric_names import MEASURED, refuse_metrics, top1_validation_key
from .training_clock import TrainingClock


class Throughput(keras.callbacks.Callback):
    """Adds images per second, seconds of training and the time to a target accuracy to the logs of each epoch.

    - `logs["images_per_second"]`: examples of this epoch over its seconds of training.
    - `logs["train_seconds"]`: seconds of training so far.
    - `logs["seconds_to_target"]`, if there is a target: the seconds of training up to the end of the first epoch that
      reached it; NaN until then.

    Seconds of training are those between an epoch's begin and its validation, or its end: validation, and what other
    callbacks do between epochs, do not count, as in DAWNBench. Tracing and compiling in the first epoch do. The clock
    waits for steps that are still under way on the device.

    Examples are counted by Keras: the metric behind `loss` weighs each batch by its size, so that batches of any size,
    and a smaller last one, count right, whatever the data is. A model whose own `train_step` leaves that metric alone
    needs `images_per_epoch`.

    Callbacks that show the logs (`HistoryCSV`, `CSVLogger`, ...) come later in the list than this one.

    Args:
        target: value to reach in validation, such as 0.94. Default: none.
        metric: the key of the validation metric. Default: the top-1 accuracy.
        mode: "max" reaches the target from below; "min", for a loss or an error, from above. Default: "max".
        images_per_epoch: examples an epoch. Default: as Keras counts them.
        history: the epochs before, for a resumed run: the file that `HistoryCSV` wrote behind this callback, or a dict
            of columns. Only looked at then. Default: what this object measured in the last `fit`.

    Attributes:
        images_per_second, train_seconds, seconds_to_target: as in the logs of the last epoch.

    Raises:
        ValueError: another mode, images that are no positive number; after the first epoch, a metric that is not among
            the logs, or examples that were not counted; on a resume, a history without the epochs before.

    Example:
        speed = Throughput(target=0.94)
        model.fit(x, y, validation_data=(x_test, y_test), epochs=24, callbacks=[speed])
        print(speed.seconds_to_target)

    Source: the DAWNBench rules for CIFAR-10 training, https://github.com/stanford-futuredata/dawn-bench-entries.
    """

    def __init__(self, target=None, metric=None, mode="max", images_per_epoch=None, history=None):
        super().__init__()
        if mode not in ("max", "min"):
            raise ValueError(f'The target is reached from below, "max", or from above, "min". Received: mode={mode!r}')
        if images_per_epoch is not None and not images_per_epoch > 0:
            raise ValueError(
                "The images of an epoch must be a positive number, or None to count them. "
                f"Received: images_per_epoch={images_per_epoch}"
            )
        self.target = target
        self.metric = metric
        self.mode = mode
        self.images_per_epoch = images_per_epoch
        self.history = columns_from(history)
        self.images_per_second = self.seconds_to_target = math.nan
        self._clock = TrainingClock()
        self._rows = []

    @property
    def train_seconds(self):
        """Seconds of training so far."""
        return self._clock.seconds

    def on_train_begin(self, logs=None):
        refuse_metrics(self, self.model, MEASURED[1:])
        self._begun = False

    def on_epoch_begin(self, epoch, logs=None):
        if not self._begun:
            self._begun = True
            self._restore(epoch)
        self._counted_before = count_of(self.model)  # not 0 where a model resets its metrics in a way of its own
        self._clock.start()

    def on_test_begin(self, logs=None):
        # fit validates between the last batch and the epoch's end.
        self._stop()

    def on_epoch_end(self, epoch, logs=None):
        self._stop()
        logs = {} if logs is None else logs
        self.images_per_second = self._images / self._clock.last if self._clock.last else math.nan
        measured = {"images_per_second": self.images_per_second, "train_seconds": self.train_seconds}
        if self.target is not None:
            if math.isnan(self.seconds_to_target) and self._reached(logs):
                self.seconds_to_target = self.train_seconds
            measured["seconds_to_target"] = self.seconds_to_target
        logs.update(measured)
        self._rows.append({"epoch": epoch + 1} | measured)

    def get_state(self):
        """The seconds of training before this epoch and in it, for a run that is stopped inside; see `set_state`."""
        return {"train_seconds": self._clock.seconds, "epoch_seconds": self._clock.so_far() - self._clock.seconds}

    def set_state(self, state):
        """Go on from the seconds that `get_state` gave. Call it after `on_epoch_begin`; before, it does nothing."""
        if self._begun:
            self._clock = TrainingClock(state["train_seconds"])
            self._clock.start(state["epoch_seconds"])

    def _restore(self, epoch):
        """Set the clock to where it was after `epoch` epochs."""
        rows = rows_before(self.history, epoch) if epoch and self.history is not None else self._rows
        self._rows = [row for row in rows if row["epoch"] <= epoch]
        last = self._rows[-1] if self._rows else {}
        if epoch and (last.get("epoch") != epoch or "train_seconds" not in last):
            raise ValueError(
                f"Training continues after epoch {epoch}, and the seconds before are not known; give the history.csv "
                "that was written with this callback, or train with initial_epoch=0. "
                f"Received: history={self.history!r}"
            )
        self._clock = TrainingClock(last.get("train_seconds", 0.0))
        self.seconds_to_target = last.get("seconds_to_target", math.nan)

    def _stop(self):
        if self._clock.stop(self.model):
            # Before validation resets the metrics.
            self._images = self.images_per_epoch or self._counted_images()

    def _counted_images(self):
        """Examples that the model was trained on in this epoch; ValueError if they were not counted."""
        images = count_of(self.model) - self._counted_before
        own_step = type(self.model).train_step is not keras.Model.train_step
        if not images or (own_step and images == (self.params or {}).get("steps")):  # a batch each time, whatever size
            raise ValueError(
                "Keras has not counted the examples of this epoch, because the model has a train_step of its own; give "
                "their number to Throughput. Received: images_per_epoch=None"
            )
        return images

    def _reached(self, logs):
        if not any(key.startswith("val_") for key in logs):
            return False  # not validated, as with validation_freq=2
        value = logs.get(self.metric or top1_validation_key(logs))
        if value is None:
            raise ValueError(
                f"There is no such metric among the logs ({', '.join(logs)}); compile the model with "
                f"metrics=['accuracy'], or name another as metric. Received: metric={self.metric!r}"
            )
        return value >= self.target if self.mode == "max" else value <= self.target


def count_of(model):
    """Examples that Keras has counted since a model's metrics were reset."""
    # Private, but a model's own metric of the name "loss" may count batches instead.
    tracker = getattr(model, "_loss_tracker", None)
    return float(keras.ops.convert_to_numpy(tracker.count)) if tracker is not None else 0.0
