"""Keep the history of a run in a CSV file that is never torn."""

import math
import os
from time import perf_counter

import keras

from .atomic import file_path
from .history_file import check_same_metrics, columns_of, csv_line, earlier_epochs, log_row, rows_of, write_lines
from .metric_names import refuse_metrics, refuse_names

OWN = ("epoch", "seconds")  # columns that are not from the logs


class HistoryCSV(keras.callbacks.Callback):
    """Writes one row an epoch: epoch, learning rate, every number in the logs, seconds.

    The file is written anew, whole, after every epoch. `epoch` counts from 1. `learning_rate` is there if it is logged.
    `seconds` is the wall time since training began, validation included; it goes on where an earlier run stopped. A
    value that is missing, as with `validation_freq=2`, is left empty. A log that is not one number is left out.

    `fit(initial_epoch=k)` keeps the first k rows of the file and continues after them. Without, the file starts anew.

    Args:
        path: the CSV file; `~` is the home folder. Its folder is made if need be.

    Attributes:
        columns: the file's content as `read_history` returns it; {} before the first epoch.

    Raises:
        ValueError: a path that is empty or a folder; a metric called epoch or seconds; on a resume, a file without the
            epochs before, or with other training metrics.
        OSError: the file cannot be written.

    Example:
        model.fit(x, y, epochs=24, callbacks=[HistoryCSV("history.csv")])
        read_history("history.csv")["loss"]
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        self.path = file_path(path)
        self.columns: dict[str, list] = {}
        self._lines = None

    def on_train_begin(self, logs=None):
        refuse_metrics(self, self.model, OWN)
        self.columns, self._lines, self._start = {}, None, None
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def on_epoch_begin(self, epoch, logs=None):
        if self._lines is not None:
            return
        columns = earlier_epochs(self.path, epoch) if epoch else {}
        self._set_rows(rows_of(columns))
        self._resumed_names = set(columns)
        if self._start is None:
            self._start = perf_counter() - columns.get("seconds", [0.0])[-1]

    def on_epoch_end(self, epoch, logs=None):
        refuse_names(self, logs or {}, OWN)
        row = log_row(epoch, logs)
        row["seconds"] = perf_counter() - self._start
        if self._resumed_names:
            check_same_metrics(self.path, self._resumed_names, row)
            self._resumed_names = None
        if row.keys() <= self.columns.keys():
            for name, column in self.columns.items():
                column.append(row.get(name, math.nan))
            self._lines.append(csv_line(column[-1] for column in self.columns.values()))
        else:  # the first row, or a metric that was not there before
            self._set_rows([*rows_of(self.columns), row])
        write_lines(self.path, self.columns, self._lines)

    def get_state(self):
        """The seconds so far, for a run that is stopped inside an epoch; see `set_state`."""
        return {"seconds": perf_counter() - self._start}

    def set_state(self, state):
        """Go on from the seconds that `get_state` gave. Call it after `on_train_begin`."""
        self._start = perf_counter() - state["seconds"]

    def _set_rows(self, rows):
        # The lines are kept beside the columns: an epoch then costs as much after ten thousand others as at first.
        self.columns = columns_of(rows)
        self._lines = [csv_line(values) for values in zip(*self.columns.values(), strict=True)]
