"""Print one row an epoch."""

from time import perf_counter

import keras
from tqdm import tqdm

from .history_file import log_row
from .metric_names import MEASURED, is_accuracy, paired_metrics, refuse_metrics
from .training_clock import wait_for_steps


class EpochTable(keras.callbacks.Callback):
    """Prints an aligned row after every epoch: epoch, learning rate, training metrics, validation metrics, seconds.

    `lr` is the rate at the epoch's end, if a scheduler earlier in the list logs it. `seconds` is the wall time since
    training began, validation included. Rows are printed through tqdm, so that they do not tear its progress bars.

    Args:
        learning_rate_scale: what to multiply the optimizer's rate by for printing. For a loss summed over the batch,
            the batch size gives the rate of the mean loss. Default: 1.
        seconds: where the clock starts, for a run that is resumed. Default: 0.
        file: text file to print to. Default: standard output.

    Example:
        model.fit(x, y, epochs=24, verbose=0, callbacks=[OneCycleTriangle(0.1), EpochTable()])

    Source: the columns are those that the reference notebook prints.
    """

    def __init__(self, learning_rate_scale=1.0, seconds=0.0, file=None):
        super().__init__()
        self.learning_rate_scale = learning_rate_scale
        self.seconds = seconds
        self.file = file

    def on_train_begin(self, logs=None):
        refuse_metrics(self, self.model, ("epoch", "momentum", *MEASURED))  # not shown as metrics
        self._header = None
        self._start = perf_counter() - self.seconds

    def on_epoch_end(self, epoch, logs=None):
        wait_for_steps(self.model)  # of which some may still be under way on the device
        numbers = log_row(epoch, logs)
        cells = {"epoch": str(epoch + 1)}
        if "learning_rate" in numbers:
            cells["lr"] = f"{numbers['learning_rate'] * self.learning_rate_scale:.4g}"
        cells |= {title: four_digits(numbers[key]) for key, title in metric_titles(numbers)}
        cells["seconds"] = f"{perf_counter() - self._start:.1f}"
        self._print_row(cells)

    def get_state(self):
        """The seconds so far, for a run that is stopped; see `set_state`."""
        return {"seconds": perf_counter() - self._start}

    def set_state(self, state):
        """Go on from the seconds that `get_state` gave."""
        self._start = perf_counter() - state["seconds"]

    def _print_row(self, cells):
        titles = list(cells)
        if self._header is None or not set(titles) <= set(self._header):  # validation may begin in a later epoch
            self._header = titles
            tqdm.write("  ".join(title.rjust(column_width(title)) for title in titles), file=self.file)
        row = (cells.get(title, "").rjust(column_width(title)) for title in self._header)
        tqdm.write("  ".join(row), file=self.file)


def metric_titles(logs):
    """(key, title) of every metric: those of training, then those of validation."""
    pairs = paired_metrics(logs)
    short = [pair.name.replace("accuracy", "acc") if is_accuracy(pair.name) else pair.name for pair in pairs]
    train = [(pair.train, f"train {name}") for pair, name in zip(pairs, short, strict=True) if pair.train]
    validation = [(pair.validation, f"val {name}") for pair, name in zip(pairs, short, strict=True) if pair.validation]
    return train + validation


def column_width(title):
    """Room for the title and for every number that `four_digits` makes; the epoch needs less."""
    return max(len(title), 5 if title == "epoch" else 9)


def four_digits(value):
    """A number with four decimals, or four digits where these would show nothing or too much."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"
