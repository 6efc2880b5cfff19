"""Keep the history of a run in a CSV file that is never torn."""

import math
import os
from time import perf_counter
from typing import Any

import keras

from .atomic import file_path
from .history_file import check_same_metrics, columns_of, csv_line, earlier_epochs, log_row, rows_of, write_lines
from .metric_names import refuse_metrics, refuse_names

OWN = ("epoch", "seconds")  # columns that are not from the logs


class HistoryCSV(keras.callbacks.Callback):
    """Writes one row an epoch: epoch, learning rate, every number in the logs, seconds.

    The file is rewritten whole after every epoch. `epoch` counts from 1. There is a `learning_rate` if a callback logs
    it. `seconds` is the wall time since training began, validation included; a resumed run adds to it. A missing value,
    as with `validation_freq=2`, is left empty. A log that is not a single number is left out.
    `fit(initial_epoch=k)` keeps the first k rows of the file and appends to them; otherwise the file starts over.

    Args:
        path: the CSV file; `~` is the home folder. Its folder is created if needed.

    Attributes:
        columns: the file's content as `read_history` returns it; {} before the first epoch.

    Raises:
        ValueError: a path that is empty or a folder; a metric called epoch or seconds; on a resume, a file without the
            earlier epochs, or with other training metrics.

    Example:
        model.fit(x, y, epochs=24, callbacks=[HistoryCSV("history.csv")])
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        self.path = file_path(path)
        self.columns: dict[str, list] = {}
        self._lines: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        refuse_metrics(self, self.model, OWN)
        self.columns, self._lines = {}, None
        self._start: Any = None
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._lines is not None:
            return
        columns = earlier_epochs(self.path, epoch) if epoch else {}
        self._set_rows(rows_of(columns))
        self._resumed_names = set(columns)
        if self._start is None:
            self._start = perf_counter() - columns.get("seconds", [0.0])[-1]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        refuse_names(self, logs or {}, OWN)
        row = log_row(epoch, logs)
        row["seconds"] = perf_counter() - self._start
        if self._resumed_names:
            check_same_metrics(self.path, self._resumed_names, row)
            self._resumed_names = set()
        if row.keys() <= self.columns.keys():
            for name, column in self.columns.items():
                column.append(row.get(name, math.nan))
            self._lines.append(csv_line(column[-1] for column in self.columns.values()))
        else:  # the first row, or a metric that was not there before
            self._set_rows([*rows_of(self.columns), row])
        write_lines(self.path, self.columns, self._lines)

    def get_state(self) -> dict[str, float]:
        """The seconds so far, to resume a run interrupted inside an epoch; see `set_state`."""
        return {"seconds": perf_counter() - self._start}

    def set_state(self, state: dict[str, float]) -> None:
        """Continue from the seconds that `get_state` returned. Call it after `on_train_begin`."""
        self._start = perf_counter() - state["seconds"]

    def _set_rows(self, rows):
        # Lines are kept beside the columns, so that the cost of an epoch does not grow with their number.
        self.columns = columns_of(rows)
        self._lines = [csv_line(values) for values in zip(*self.columns.values(), strict=True)]
