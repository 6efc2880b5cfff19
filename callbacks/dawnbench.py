"""The log file that the DAWNBench competition asked for."""

import os
from typing import Any

import keras

from .atomic import atomic_write, file_path
from .metric_names import top1_validation_key
from .throughput import TrainingClock

HEADER = "epoch\thours\ttop1Accuracy"


class DawnbenchLog(keras.callbacks.Callback):
    """Writes epoch, hours of training and top-1 validation accuracy in percent, separated by tabs.

    The hours are counted as by `Throughput`. The file is rewritten whole after every epoch that was validated.
    `fit(initial_epoch=k)` keeps the first k epochs of the file and adds to their hours; otherwise the file starts over.

    Args:
        path: the file, usually `log.tsv`. Its folder is created if needed.
        metric: the key of the accuracy in the logs, a share from 0 to 1. Default: the top-1 validation accuracy.

    Raises:
        ValueError: on a resume, a file that does not end with the epoch before; an accuracy that is not logged.

    Source: the DAWNBench rules for CIFAR-10 training, https://github.com/stanford-futuredata/dawn-bench-entries.
    """

    def __init__(self, path: str | os.PathLike, metric: str | None = None) -> None:
        super().__init__()
        self.path = file_path(path)
        self.metric = metric
        self._lines: Any = None
        self._clock = TrainingClock()
        self._resumed_hours: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._lines = self._resumed_hours = None
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._lines is None:
            self._lines, hours = earlier_lines(self.path, epoch) if epoch else ([], 0.0)
            hours = hours if self._resumed_hours is None else self._resumed_hours
            self._clock = TrainingClock(3600 * hours)
        self._clock.start()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._clock.stop(self.model)  # fit validates between the last batch and the epoch's end

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._clock.stop(self.model)
        logs = logs or {}
        if not any(key.startswith("val_") for key in logs):
            return  # not validated, as with validation_freq=2; its hours count in the next line
        accuracy = logs.get(self.metric or top1_validation_key(logs))
        if accuracy is None:
            raise ValueError(
                f"There is no such accuracy among the logs ({', '.join(logs)}); compile the model with "
                f"metrics=['accuracy'], or name another as metric. Received: metric={self.metric!r}"
            )
        self._lines.append(f"{epoch + 1}\t{self._clock.seconds / 3600:.8f}\t{100 * accuracy:.2f}")
        with atomic_write(self.path) as temporary:
            temporary.write_text("\n".join([HEADER, *self._lines]) + "\n", newline="\n")

    @property
    def hours(self) -> float:
        """Hours of training in the file's last line; 0.0 before the first."""
        return float(self._lines[-1].split("\t")[1]) if self._lines else 0.0

    def get_state(self) -> dict[str, float]:
        """The hours of training so far, to resume a run interrupted inside an epoch; see `set_state`."""
        return {"hours": self._clock.so_far() / 3600}

    def set_state(self, state: dict[str, float]) -> None:
        """Continue from the hours that `get_state` returned. Call it after `on_epoch_begin`, or before the first."""
        self._resumed_hours = state["hours"]
        if self._lines is not None:
            self._clock = TrainingClock(3600 * state["hours"])
            self._clock.start()


def earlier_lines(path, epochs):
    """The lines of the first `epochs` epochs and their hours; ValueError if the file does not hold them."""
    try:
        header, *lines = path.read_text().splitlines()
        rows = [(int(epoch), float(hours), float(accuracy)) for epoch, hours, accuracy in map(str.split, lines)]
        kept = sum(epoch <= epochs for epoch, _, _ in rows)
        if header != HEADER or rows[kept - 1][0] != epochs:
            raise ValueError(f"no line for epoch {epochs}")
    except (OSError, ValueError, IndexError) as error:
        raise ValueError(
            f"Training continues after epoch {epochs}, and this log must end with that epoch, a validated one; restore "
            f"it, or write to another file with initial_epoch=0 ({error}). Received: path={str(path)!r}"
        ) from error
    return lines[:kept], rows[kept - 1][1]
