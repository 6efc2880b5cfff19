"""Redraw the training curves while a model trains."""

import io
import os
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from time import perf_counter

import keras

from .atomic import atomic_write
from .figures.history import plot_history, with_epochs
from .figures.learning_rate import plot_schedule
from .history_file import columns_from, columns_of, log_row, read_history, rows_before
from .metric_names import MEASURED, SCHEDULED, paired_metrics, refuse_metrics

__all__ = ["PlotCurves", "plot_history", "plot_schedule"]

SUFFIXES = (".png", ".svg", ".pdf")
FIRST_DRAWING = 0.25  # seconds that a drawing is thought to take before one has been timed


class PlotCurves(keras.callbacks.Callback):
    """Draws accuracy, loss and every other metric, and the learning rate beneath, after each epoch.

    The file is replaced whole. In a Jupyter notebook the figure is shown too, and changes in place. Nothing else needs
    a screen. What cannot be drawn, saved or shown costs one warning, and training goes on.

    Drawing takes no more than `budget` of the time since training began: an epoch is drawn if what has been spent, this
    drawing and a last one stay within it, each as long as the one before. What is left undrawn is drawn when training
    ends, always. A picture takes a few tenths of a second, so that epochs of 30 seconds are all drawn, and the first of
    one second after about 25.

    Args:
        path: `.png`, `.svg` or `.pdf` file. Its folder is made if need be. Default: none, only show it in a notebook.
        history: the epochs before, for a run that is resumed with `initial_epoch` or by `BackupAndRestore`: the file
            that `HistoryCSV` writes, a dict of columns, or what `fit` returned. Only looked at then. Default: what this
            object drew in the last `fit`.
        title: of the figure. Default: none.
        log: names of metrics to draw on a logarithmic axis, such as `("loss",)`. Default: none.
        compare: another run, drawn beneath in grey: as `history`. It is read at once. Default: none.
        compare_label: what to call it.
        budget: share of the training time that drawing may take. `math.inf` draws every epoch. Default: 0.02.

    Raises:
        ValueError: another kind of file, a budget below 0, nothing to compare with; on a resume, a history that does
            not hold the epochs before.
        OSError: the file to compare with cannot be read.

    Example:
        model.fit(x, y, validation_data=(x_test, y_test), epochs=24, callbacks=[PlotCurves("curves.png")])
    """

    def __init__(
        self, path=None, history=None, title=None, log=(), compare=None, compare_label="earlier run", budget=0.02
    ):
        super().__init__()
        self.path = None if path is None else Path(os.path.expanduser(path))
        if self.path is not None and self.path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"The path must end in {', '.join(SUFFIXES)}. Received: path={str(path)!r}")
        if not budget >= 0:
            raise ValueError(f"The share of time for drawing must be 0 or more. Received: budget={budget}")
        self.history = columns_from(history)
        self.title = title
        self.log = (log,) if isinstance(log, str) else tuple(log)
        self.compare = None if compare is None else read_run(compare)
        self.compare_label = compare_label
        self.budget = budget
        self._rows = []
        self._display = NotebookDisplay()
        self._begun = False
        self._warned = set()

    def on_train_begin(self, logs=None):
        refuse_metrics(self, self.model, ("epoch", *MEASURED))  # not drawn as metrics
        self._begun = False
        self._display = NotebookDisplay()  # the cell that runs this fit
        self._undrawn = False
        self._spent, self._drawing = 0.0, FIRST_DRAWING
        self._start = perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        if self._begun:
            return
        self._begun = True
        if epoch and self.history is not None:
            self._rows = rows_before(self.history, epoch)
        self._rows = [row for row in self._rows if row["epoch"] <= epoch]

    def on_epoch_end(self, epoch, logs=None):
        self._rows.append(log_row(epoch, logs))
        self._undrawn = True
        now = perf_counter()
        if self._spent + 2 * self._drawing <= self.budget * max(now - self._start, 1e-9):
            self._draw()
            self._drawing = perf_counter() - now
            self._spent += self._drawing

    def on_train_end(self, logs=None):
        if self._undrawn:
            self._draw()

    def _draw(self):
        self._undrawn = False
        columns = columns_of(self._rows)
        if not paired_metrics(columns):
            return
        epochs = (self.params or {}).get("epochs")
        log = self._known(columns)
        self._try("drawn", lambda: self._deliver(columns, epochs, log))

    def _deliver(self, columns, epochs, log):
        figure = plot_history(columns, self.title, epochs, log, self.compare, self.compare_label)
        width = round(figure.get_figwidth() * 90)
        picture = cache(lambda kind: render(figure, kind))
        if self._display.live:
            self._try("shown", lambda: self._display.show(picture("png"), width))
        if self.path is not None:
            self._try("saved", lambda: self._save(picture(self.path.suffix.lower()[1:])))

    def _known(self, columns):
        """The names for logarithmic axes that there are; a slip in one is no reason to end a training run."""
        names = {metric.name for metric in paired_metrics(columns)} | {*SCHEDULED} & {*columns}
        unknown = [name for name in self.log if name.removeprefix("val_") not in names]
        if unknown:
            self._warn_once("log", f"There is no metric {unknown[0]!r} to draw logarithmically, only {sorted(names)}.")
        return [name for name in self.log if name not in unknown]

    def _save(self, content):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path) as temporary:
            temporary.write_bytes(content)

    def _try(self, done, action):
        try:
            action()
        except Exception as error:  # what a full disk, a closed notebook or a font raises is of many kinds
            self._warn_once(
                done, f"The curves cannot be {done}, training goes on without ({type(error).__name__}: {error})."
            )

    def _warn_once(self, topic, message):
        if topic not in self._warned:
            self._warned.add(topic)
            warnings.warn(message, stacklevel=2)


def read_run(history):
    """A history as a dict of columns, from a file, a dict or what `fit` returned."""
    columns = columns_from(history)
    columns = columns if isinstance(columns, Mapping) else read_history(columns)
    return with_epochs(columns)  # a ValueError now rather than after an hour


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


class NotebookDisplay:
    """One picture in the output of the current cell; does nothing outside a notebook."""

    def __init__(self):
        self._handle = None

    @property
    def live(self):
        """Whether a Jupyter kernel is running this program."""
        # IPython is looked for, never imported: where it is not loaded there is no notebook.
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython else None
        return getattr(shell, "kernel", None) is not None

    def show(self, png, width):
        """Show a picture, in place of the one before.

        Args:
            png: bytes.
            width: in the notebook, in pixels.
        """
        from IPython.display import Image, display

        image = Image(data=png, format="png", width=width)
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
