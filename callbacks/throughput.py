"""Measure training time, images per second, and the time to a target accuracy."""

import math
import os
from time import perf_counter
from typing import Any

import keras

from .history_file import columns_from, rows_before
from .metric_names import MEASURED, refuse_metrics, top1_validation_key
from .model_state import wait_for_steps


class TrainingClock:
    """Adds up the seconds between `start` and `stop` to those given; `last` is the length of the last interval."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.last = 0.0
        self._start = None

    def start(self, earlier=0.0):
        """Begin an interval, as an epoch does, or continue one that has taken `earlier` seconds already."""
        self._start = perf_counter() - earlier

    def so_far(self):
        """The sum, including an interval that is running."""
        return self.seconds + (0.0 if self._start is None else perf_counter() - self._start)

    def stop(self, model):
        """End the interval once `model` has taken the steps that it was sent; returns whether one was running."""
        if self._start is None:
            return False
        wait_for_steps(model)
        self.last = perf_counter() - self._start
        self.seconds += self.last
        self._start = None
        return True


class Throughput(keras.callbacks.Callback):
    """Adds images per second, seconds of training and the time to a target accuracy to the logs of each epoch.

    - `logs["images_per_second"]`: examples of this epoch over its seconds of training.
    - `logs["train_seconds"]`: seconds of training so far.
    - `logs["seconds_to_target"]`, if there is a target: the same at the end of the first epoch that reached it, or NaN.

    As in DAWNBench, validation and what other callbacks do between epochs do not count as training. Tracing and
    compiling in the first epoch do. The clock waits for steps that are still running on the device. Examples are those
    that Keras counts for `loss`; a model whose own `train_step` does not update that needs `images_per_epoch`.

    The same numbers are attributes. Callbacks that show the logs (`HistoryCSV`, ...) come later in the list.

    Args:
        target: value to reach in validation, such as 0.94. Default: none.
        metric: the key of the validation metric. Default: the top-1 accuracy.
        mode: "max" reaches the target from below; "min", for a loss or an error, from above. Default: "max".
        images_per_epoch: examples per epoch. Default: as Keras counts them.
        history: the earlier epochs of a resumed run: the file that `HistoryCSV` writes, or a dict of columns. Read
            only on a resume. Default: what this object measured in the last `fit`.

    Raises:
        ValueError: another mode, images that are not positive, a metric that is not logged, examples that were not
            counted, a history without the earlier epochs.

    Example:
        model.fit(x, y, validation_data=(x_test, y_test), callbacks=[Throughput(target=0.94), HistoryCSV("h.csv")])

    Source: the DAWNBench rules for CIFAR-10 training, https://github.com/stanford-futuredata/dawn-bench-entries.
    """

    def __init__(
        self,
        target: float | None = None,
        metric: str | None = None,
        mode: str = "max",
        images_per_epoch: int | None = None,
        history: str | os.PathLike | dict[str, Any] | keras.callbacks.History | None = None,
    ) -> None:
        super().__init__()
        if mode not in ("max", "min"):
            raise ValueError(f'The target is reached from below, "max", or from above, "min". Received: mode={mode!r}')
        if images_per_epoch is not None and not images_per_epoch > 0:
            raise ValueError(f"Pass a positive number, or None to count. Received: images_per_epoch={images_per_epoch}")
        self.target, self.metric, self.mode, self.images_per_epoch = target, metric, mode, images_per_epoch
        self.history = columns_from(history)
        self.images_per_second = self.seconds_to_target = math.nan
        self._clock = TrainingClock()
        self._rows: list[dict[str, float]] = []

    @property
    def train_seconds(self) -> float:
        """Seconds of training so far."""
        return self._clock.seconds

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        refuse_metrics(self, self.model, MEASURED[1:])
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._begun:
            self._begun = True
            self._restore(epoch)
        self._counted_before = _count_of(self.model)  # not 0 if a model resets its metrics in its own way
        self._clock.start()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._stop()  # fit validates between the last batch and the epoch's end

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
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

    def get_state(self) -> dict[str, float]:
        """The seconds of training before this epoch and in it, to resume an interrupted run; see `set_state`."""
        return {"train_seconds": self._clock.seconds, "epoch_seconds": self._clock.so_far() - self._clock.seconds}

    def set_state(self, state: dict[str, float]) -> None:
        """Continue from what `get_state` returned. Call it after `on_epoch_begin`; before, it does nothing."""
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
                f"Training continues after epoch {epoch}, but the seconds before are unknown; pass the history.csv "
                f"of this run, or train with initial_epoch=0. Received: history={self.history!r}"
            )
        self._clock = TrainingClock(last.get("train_seconds", 0.0))
        self.seconds_to_target = last.get("seconds_to_target", math.nan)

    def _stop(self):
        if self._clock.stop(self.model):
            # Before validation resets the metrics.
            self._images = self.images_per_epoch or self._counted_images()

    def _counted_images(self):
        """Examples that the model was trained on in this epoch; ValueError if they were not counted."""
        images = _count_of(self.model) - self._counted_before
        own_step = type(self.model).train_step is not keras.Model.train_step
        if not images or (own_step and images == (self.params or {}).get("steps")):  # 1 a batch, whatever its size
            raise ValueError(
                "Keras has not counted the examples of this epoch, because the model has its own train_step; "
                "give their number to Throughput. Received: images_per_epoch=None"
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


def _count_of(model):
    """Examples that Keras has counted since a model's metrics were reset."""
    # Private, but a model's own metric of the name "loss" may count batches instead.
    tracker = getattr(model, "_loss_tracker", None)
    return float(keras.ops.convert_to_numpy(tracker.count)) if tracker is not None else 0.0
