"""Print one row an epoch."""

from time import perf_counter
from typing import Any, TextIO

import keras
from tqdm import tqdm

from .history_file import log_row
from .metric_names import MEASURED, SCHEDULED, is_accuracy, paired_metrics, refuse_metrics
from .model_state import wait_for_steps


class EpochTable(keras.callbacks.Callback):
    """Prints an aligned row after every epoch: epoch, learning rate, training metrics, validation metrics, seconds.

    `lr` is the rate at the epoch's end, if a scheduler earlier in the list logs it. `seconds` is the wall time since
    training began, validation included. Rows are printed through tqdm, so that its progress bars stay intact.

    Args:
        learning_rate_scale: factor of the printed rate. For a loss summed over the batch, the batch size gives the rate
            of the mean loss. Default: 1.
        seconds: where the clock starts, for a resumed run. Default: 0.
        file: text file to print to. Default: standard output.

    Example:
        model.fit(x, y, epochs=24, verbose=0, callbacks=[OneCycleTriangle(0.1), EpochTable()])

    Source: the columns are those that the reference notebook prints.
    """

    def __init__(self, learning_rate_scale: float = 1.0, seconds: float = 0.0, file: TextIO | None = None) -> None:
        super().__init__()
        self.learning_rate_scale = learning_rate_scale
        self.seconds = seconds
        self.file = file

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        refuse_metrics(self, self.model, ("epoch", "lr", *SCHEDULED, *MEASURED))  # not shown as metrics
        self._header: Any = None
        self._start = perf_counter() - self.seconds

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        wait_for_steps(self.model)  # some may still be running on the device
        numbers = log_row(epoch, logs)
        cells = {"epoch": str(epoch + 1)}
        if "learning_rate" in numbers:
            cells["lr"] = f"{numbers['learning_rate'] * self.learning_rate_scale:.4g}"
        cells |= {title: _four_digits(numbers[key]) for key, title in _metric_titles(numbers)}
        cells["seconds"] = f"{perf_counter() - self._start:.1f}"
        if self._header is None or not cells.keys() <= self._header.keys():  # validation may begin in a later epoch
            self._header = {title: title for title in cells}
            self._print_row(self._header)
        self._print_row({title: cells.get(title, "") for title in self._header})

    def get_state(self) -> dict[str, float]:
        """The seconds so far, to resume an interrupted run; see `set_state`."""
        return {"seconds": perf_counter() - self._start}

    def set_state(self, state: dict[str, float]) -> None:
        """Continue from the seconds that `get_state` returned."""
        self._start = perf_counter() - state["seconds"]

    def _print_row(self, cells):
        widths = (max(len(title), 5 if title == "epoch" else 9) for title in cells)  # 9: for `_four_digits`
        row = "  ".join(cell.rjust(width) for cell, width in zip(cells.values(), widths, strict=True))
        tqdm.write(row, file=self.file)


def _metric_titles(logs):
    """(key, title) of every metric: those of training, then those of validation."""
    pairs = paired_metrics(logs)
    keys = [("train", pair.train, pair.name) for pair in pairs] + [
        ("val", pair.validation, pair.name) for pair in pairs
    ]
    short = {name: name.replace("accuracy", "acc") if is_accuracy(name) else name for _, _, name in keys}
    return [(key, f"{split} {short[name]}") for split, key, name in keys if key]


def _four_digits(value):
    """A number with four decimals, or four digits where these would show nothing or too much."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"
