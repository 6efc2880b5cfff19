"""Redraw the training curves after every epoch."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import keras

from .atomic import atomic_write
from .history import columns_of, earlier_epochs, log_row, rows_of
from .history_figure import plot_history
from .metric_names import paired_metrics
from .notebook_display import NotebookDisplay
from .schedule_figure import plot_schedule

__all__ = ["PlotCurves", "plot_history", "plot_schedule"]

SUFFIXES = (".png", ".svg", ".pdf")
ALWAYS_DRAWN = 100  # epochs
SHARE = 1 / 20  # of the time, spent on drawing after those


class PlotCurves(keras.callbacks.Callback):
    """Draws accuracy, loss and every other metric, and the learning rate beneath, after each epoch.

    From the 101st epoch on, epochs are left out where drawing would take more than a twentieth of the time; the last
    is always drawn. The file is replaced whole. In a Jupyter notebook the figure is shown too, and changes in place.
    Nothing else needs a screen. If the file cannot be written there is one warning, and training goes on.

    Args:
        path: `.png`, `.svg` or `.pdf` file. Its folder is made if need be. Default: none, only show it in a notebook.
        history: the epochs before, for a run that is resumed with `initial_epoch`: the file that `HistoryCSV` writes,
            a dict of columns, or what `fit` returned. Only looked at then. Default: what this object drew in the last
            `fit`.
        title: of the figure. Default: none.

    Raises:
        ValueError: another kind of file; on a resume, a history that does not hold the epochs before.

    Example:
        model.fit(x, y, validation_data=(x_test, y_test), epochs=24, callbacks=[PlotCurves("curves.png")])
    """

    def __init__(self, path=None, history=None, title=None):
        super().__init__()
        self.path = None if path is None else Path(path)
        if self.path is not None and self.path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"The path must end in {', '.join(SUFFIXES)}. Received: path={str(path)!r}")
        self.history = getattr(history, "history", history)
        self.title = title
        self._rows = []
        self._display = NotebookDisplay()
        self._begun = False
        self._behind = False
        self._next_drawing = 0.0
        self._warned = False

    def on_train_begin(self, logs=None):
        self._begun = self._behind = False
        self._next_drawing = 0.0
        self._display = NotebookDisplay()  # the cell that runs this fit

    def on_epoch_begin(self, epoch, logs=None):
        if self._begun:
            return
        self._begun = True
        if epoch and self.history is not None:
            self._rows = self._earlier_rows(epoch)
        self._rows = [row for row in self._rows if row["epoch"] <= epoch]

    def on_epoch_end(self, epoch, logs=None):
        self._rows.append(log_row(epoch, logs))
        self._behind = len(self._rows) > ALWAYS_DRAWN and perf_counter() < self._next_drawing
        if not self._behind:
            self._draw_rows()

    def on_train_end(self, logs=None):
        if self._behind:
            self._behind = False
            self._draw_rows()

    def _draw_rows(self):
        began = perf_counter()
        columns = columns_of(self._rows)
        if paired_metrics(columns):
            self._draw(plot_history(columns, self.title, (self.params or {}).get("epochs")))
        now = perf_counter()
        self._next_drawing = now + (now - began) / SHARE

    def _earlier_rows(self, epoch):
        if not isinstance(self.history, Mapping):
            return rows_of(earlier_epochs(self.history, epoch))
        lengths = {len(column) for column in self.history.values()}
        if len(lengths) != 1 or max(lengths) < epoch:
            raise ValueError(
                f"Training continues after epoch {epoch}; each column of the history needs a value for every epoch "
                f"before. Received: history with lengths {sorted(lengths)}"
            )
        return rows_of({"epoch": list(range(1, max(lengths) + 1))} | dict(self.history))

    def _draw(self, figure):
        kinds = {"png"} if self._display.live else set()
        if self.path is not None:
            kinds.add(self.path.suffix.lower()[1:])
        pictures = {kind: render(figure, kind) for kind in kinds}
        if self._display.live:
            self._display.show(pictures["png"], width=round(figure.get_figwidth() * 90))
        if self.path is not None:
            self._save(pictures[self.path.suffix.lower()[1:]])

    def _save(self, content):
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(f"The curves cannot be saved, training goes on without ({error}).", stacklevel=2)


def render(figure, kind):
    """The bytes of a figure as png, svg or pdf."""
    content = io.BytesIO()
    options = {
        "png": {"pil_kwargs": {"compress_level": 1}},  # three times as fast to write as the default
        "svg": {"metadata": {"Date": None}},  # without the date the same history makes the same file
        "pdf": {"metadata": {"CreationDate": None}},
    }
    figure.savefig(content, format=kind, **options[kind])
    return content.getvalue()
