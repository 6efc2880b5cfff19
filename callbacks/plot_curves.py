"""Redraw the training curves while a model trains."""

import io
import os
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import keras

from .atomic import atomic_write
from .figures.history import plot_history
from .figures.runs import read_run
from .history_file import columns_from, columns_of, log_row, rows_before
from .metric_names import MEASURED, SCHEDULED, paired_metrics, refuse_metrics

FIRST_DRAWING = 0.25  # assumed seconds of a drawing before one has been timed


class PlotCurves(keras.callbacks.Callback):
    """Draws accuracy, loss and every other metric, and the learning rate beneath, after each epoch.

    The file is replaced whole. In a Jupyter notebook the figure is shown too, and changes in place. A figure that
    cannot be drawn, saved or shown costs one warning, and training continues.

    Drawing takes no more than `budget` of the time since training began, a last drawing included. What is left undrawn
    is drawn when training ends, always. Epochs of 30 seconds are all drawn.

    Args:
        path: `.png`, `.svg` or `.pdf` file. Its folder is created if needed. Default: none, only show it in a notebook.
        history: the earlier epochs of a resumed run: the file that `HistoryCSV` writes, a dict of columns, or what
            `fit` returned. Read only on a resume. Default: what this object drew in the last `fit`.
        log: names of metrics to draw on a logarithmic axis, such as `("loss",)`. Default: none.
        compare: another run, drawn beneath in grey; as `history`, but read at once. Default: none.
        budget: share of the training time that drawing may take. `math.inf` draws every epoch. Default: 0.02.

    Raises:
        ValueError: another kind of file, a budget below 0, nothing to compare with, a history without earlier epochs.

    Example:
        model.fit(x, y, validation_data=(x_test, y_test), epochs=24, callbacks=[PlotCurves("curves.png")])
    """

    def __init__(
        self,
        path: str | os.PathLike | None = None,
        history: str | os.PathLike | dict[str, Any] | keras.callbacks.History | None = None,
        title: str | None = None,
        log: str | Sequence[str] = (),
        compare: str | os.PathLike | dict[str, Any] | keras.callbacks.History | None = None,
        compare_label: str = "earlier run",
        budget: float = 0.02,
    ) -> None:
        super().__init__()
        self.path = None if path is None else Path(os.path.expanduser(path))
        if self.path is not None and self.path.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise ValueError(f"The path must end in .png, .svg, .pdf. Received: path={str(path)!r}")
        if not budget >= 0:
            raise ValueError(f"The share of time for drawing must be 0 or more. Received: budget={budget}")
        self.history = columns_from(history)
        self.title, self.compare_label, self.budget = title, compare_label, budget
        self.log = (log,) if isinstance(log, str) else tuple(log)
        self.compare = None if compare is None else read_run(compare)  # a bad one fails now, not after an hour
        self._rows: list[dict[str, float]] = []
        self._warned: set[str] = set()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        refuse_metrics(self, self.model, ("epoch", "lr", *SCHEDULED, *MEASURED))  # not drawn as metrics
        self._begun = self._undrawn = False
        self._display = NotebookDisplay()  # the cell that runs this fit
        self._spent, self._drawing = 0.0, FIRST_DRAWING
        self._start = perf_counter()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._begun:
            return
        self._begun = True
        rows = rows_before(self.history, epoch) if epoch and self.history is not None else self._rows
        self._rows = [row for row in rows if row["epoch"] <= epoch]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._rows.append(log_row(epoch, logs))
        self._undrawn = True
        now = perf_counter()
        if self._spent + 2 * self._drawing <= self.budget * max(now - self._start, 1e-9):
            self._draw()
            self._drawing = perf_counter() - now
            self._spent += self._drawing

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._undrawn:
            self._draw()

    def _draw(self):
        self._undrawn = False
        columns = columns_of(self._rows)
        metrics = paired_metrics(columns)
        if not metrics:
            return
        names = {metric.name for metric in metrics} | {*SCHEDULED} & {*columns}
        unknown = [name for name in self.log if name.removeprefix("val_") not in names]
        if unknown:  # no reason to end a training run
            self._warn_once("log", f"There is no metric {unknown[0]!r} to draw logarithmically, only {sorted(names)}.")
        log = [name for name in self.log if name not in unknown]
        self._try("drawn", lambda: self._deliver(columns, log))

    def _deliver(self, columns, log):
        epochs = (self.params or {}).get("epochs")
        figure = plot_history(columns, self.title, epochs, log, self.compare, self.compare_label)
        picture = cache(lambda kind: _render(figure, kind))
        if self._display.live:
            self._try("shown", lambda: self._display.show(picture("png"), round(figure.get_figwidth() * 90)))
        if self.path is not None:
            self._try("saved", lambda: self._save(picture(self.path.suffix.lower()[1:])))

    def _save(self, content):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path) as temporary:
            temporary.write_bytes(content)

    def _try(self, done, action):
        try:
            action()
        except Exception as error:  # a full disk, a closed notebook, a font: many kinds
            reason = f"{type(error).__name__}: {error}"
            self._warn_once(done, f"The curves cannot be {done}, training continues without ({reason}).")

    def _warn_once(self, topic, message):
        if topic not in self._warned:
            self._warned.add(topic)
            warnings.warn(message, stacklevel=2)


def _render(figure, kind):
    """The bytes of a figure as png, svg or pdf."""
    content = io.BytesIO()
    options = {
        "png": {"pil_kwargs": {"compress_level": 1}},  # three times as fast to write as the default
        "svg": {"metadata": {"Date": None}},  # without the date the same history makes the same file
        "pdf": {"metadata": {"CreationDate": None}},
    }
    figure.savefig(content, format=kind, **options[kind])
    return content.getvalue()


class NotebookDisplay:
    """One picture in the output of a notebook's current cell."""

    def __init__(self):
        self._handle = None

    @property
    def live(self):
        """Whether a Jupyter kernel is running this program."""
        ipython = sys.modules.get("IPython")  # never imported: if it is not loaded, this is no notebook
        shell = ipython.get_ipython() if ipython else None
        return getattr(shell, "kernel", None) is not None

    def show(self, png, width):
        """Show the bytes of a PNG, `width` pixels wide, in place of the picture before."""
        from IPython.display import Image, display

        image = Image(data=png, format="png", width=width)
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
