"""The curves are redrawn while a model trains, saved whole, and never slow or end a training run."""

import math
import os
import sys
import types

import keras
import numpy as np
import pytest

from davidnet_callbacks import HistoryCSV, PlotCurves, plot_curves


@pytest.fixture
def drawn(monkeypatch):
    """Record the histories that are drawn, each as (columns, title, epochs, log, compare, its label); draw another."""
    calls = []
    real = plot_curves.plot_history

    def record(columns, *options):
        calls.append((dict(columns), *options))
        return real({"loss": [1.0]})

    monkeypatch.setattr(plot_curves, "plot_history", record)
    return calls


def run(callback, losses, initial_epoch=0, epochs=None):
    """What fit calls, for one loss an epoch."""
    callback.set_params({"epochs": epochs or initial_epoch + len(losses)})
    callback.on_train_begin()
    for epoch, loss in enumerate(losses, initial_epoch):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"loss": loss, "learning_rate": 0.5})
    callback.on_train_end()


def always(path=None, **options):
    """A PlotCurves that draws every epoch."""
    return PlotCurves(path, budget=math.inf, **options)


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")]
)
def test_the_suffix_says_what_is_saved(tmp_path, suffix, start):
    path = tmp_path / "new" / f"curves{suffix}"
    run(PlotCurves(path), [1.0])
    assert path.read_bytes().startswith(start)
    assert os.listdir(path.parent) == [path.name]


def test_the_same_history_makes_the_same_svg(tmp_path):
    # Ids in the file are made from the salt; without one they are random.
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "x"}):
        run(PlotCurves(tmp_path / "a.svg"), [1.0])
        run(PlotCurves(tmp_path / "b.svg"), [1.0])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_fit_draws_every_epoch_with_all_epochs_so_far(tmp_path, drawn):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 1), "float32")
    callback = always(tmp_path / "c.png", title="T")
    model.fit(x, x, epochs=3, verbose=0, validation_data=(x, x), callbacks=[callback])
    assert [columns["epoch"] for columns, *_ in drawn] == [[1], [1, 2], [1, 2, 3]]
    assert set(drawn[0][0]) == {"epoch", "loss", "val_loss"}
    assert drawn[0][1:3] == ("T", 3)


@pytest.mark.parametrize("kind", ["file", "dict", "dict with epochs", "returned by fit", "same object"])
def test_a_resumed_run_draws_the_epochs_before(tmp_path, drawn, kind):
    first = PlotCurves(tmp_path / "c.png")
    for callback in (first, HistoryCSV(tmp_path / "h.csv")):
        run(callback, [3.0, 2.0, 9.0])
    columns = {"loss": [3.0, 2.0, 9.0]}
    history = {
        "file": tmp_path / "h.csv",
        "dict": columns,
        "dict with epochs": columns | {"epoch": [1, 2, 3]},
        "returned by fit": types.SimpleNamespace(history=columns),
    }.get(kind)
    second = first if kind == "same object" else PlotCurves(tmp_path / "c.png", history=history)
    run(second, [1.0], initial_epoch=2)
    assert drawn[-1][0]["loss"] == [3, 2, 1]
    assert drawn[-1][0]["epoch"] == [1, 2, 3]


def test_a_run_from_the_start_ignores_an_earlier_history(tmp_path, drawn):
    callback = PlotCurves(tmp_path / "c.png", history=tmp_path / "not there yet.csv")
    run(callback, [2.0])
    run(callback, [1.0])
    assert drawn[-1][0]["loss"] == [1.0]


@pytest.mark.parametrize("history", ["missing.csv", {"loss": [1.0]}, {"loss": [1.0, 2.0], "val_loss": [1.0]}, {}])
def test_a_resume_needs_the_epochs_before(tmp_path, history):
    if isinstance(history, str):
        history = tmp_path / history
    with pytest.raises(ValueError, match=r"Received: (history|path)"):
        run(PlotCurves(tmp_path / "c.png", history=history), [1.0], initial_epoch=2)


def test_an_unwritable_target_warns_once_and_training_goes_on(tmp_path, drawn):
    (tmp_path / "file").touch()
    callback = always(tmp_path / "file" / "c.png")
    with pytest.warns(UserWarning, match="cannot be saved, training continues") as warned:
        run(callback, [3.0, 2.0, 1.0])
    assert len(warned) == 1
    assert len(drawn) == 3


def test_a_drawing_that_fails_warns_once_and_training_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(plot_curves, "plot_history", lambda *_: 1 / 0)
    with pytest.warns(UserWarning, match="cannot be drawn, training continues without .ZeroDivisionError") as warned:
        run(always(tmp_path / "c.png"), [3.0, 2.0])
    assert len(warned) == 1


def test_a_metric_s_name_may_look_like_a_formula(tmp_path):
    callback = always(tmp_path / "c.png", title=r"$\frac$")
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {r"$\frac$": 1.0})
    assert (tmp_path / "c.png").exists()


class Clock:
    """A clock that the tests set forward by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def drawn_epochs(callback, clock, monkeypatch, epochs, epoch_seconds, drawing_seconds):
    """Run fit on that clock; returns the epochs that are drawn."""
    drawings = []

    def draw(self, columns, log):
        drawings.append(columns["epoch"][-1])
        clock.now += drawing_seconds

    monkeypatch.setattr(plot_curves, "perf_counter", clock)
    monkeypatch.setattr(PlotCurves, "_deliver", draw)
    callback.on_train_begin()
    for epoch in range(epochs):
        callback.on_epoch_begin(epoch)
        clock.now += epoch_seconds
        callback.on_epoch_end(epoch, {"loss": 1.0})
    callback.on_train_end()
    return drawings


@pytest.mark.parametrize("drawing", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("epochs", [50, 100, 1000])
def test_one_second_epochs_are_slowed_by_two_percent_at_most_the_last_drawing_included(monkeypatch, epochs, drawing):
    drawings = drawn_epochs(PlotCurves(), Clock(), monkeypatch, epochs, 1.0, drawing)
    # A first drawing slower than expected may take as much again.
    assert len(drawings) * drawing <= 0.02 * (epochs + len(drawings) * drawing) + max(0, 2 * (drawing - 0.25))
    assert drawings[-1] == epochs
    assert len(drawings) >= 0.8 * 0.02 * epochs / drawing - 1  # and the time that there is is used


def test_epochs_of_half_a_minute_are_all_drawn(monkeypatch):
    assert drawn_epochs(PlotCurves(), Clock(), monkeypatch, 5, 30.0, 0.25) == [1, 2, 3, 4, 5]


def test_a_short_run_is_drawn_once_at_its_end(monkeypatch):
    assert drawn_epochs(PlotCurves(), Clock(), monkeypatch, 3, 1.0, 0.2) == [3]


def test_the_budget_is_an_argument(monkeypatch):
    assert drawn_epochs(PlotCurves(budget=math.inf), Clock(), monkeypatch, 3, 0.0, 9.0) == [1, 2, 3]
    assert drawn_epochs(PlotCurves(budget=0), Clock(), monkeypatch, 3, 900.0, 0.1) == [3]
    with pytest.raises(ValueError, match=r"must be 0 or more\. Received: budget=-1"):
        PlotCurves(budget=-1)


def test_each_fit_has_a_budget_of_its_own(monkeypatch):
    callback, clock = PlotCurves(), Clock()
    first = drawn_epochs(callback, clock, monkeypatch, 100, 1.0, 0.2)
    assert drawn_epochs(callback, clock, monkeypatch, 100, 1.0, 0.2) == first


def test_the_options_reach_the_figure(drawn):
    other = {"loss": [2.0, 1.0]}
    run(always(log="loss", compare=types.SimpleNamespace(history=other), compare_label="before"), [3.0])
    assert drawn[0][3] == ["loss"]
    assert drawn[0][4]["loss"] == [2.0, 1.0]
    assert drawn[0][5] == "before"


def test_the_run_to_compare_with_is_read_before_it_is_overwritten(tmp_path, drawn):
    run(HistoryCSV(tmp_path / "h.csv"), [3.0])
    callback = always(compare=tmp_path / "h.csv")
    run(HistoryCSV(tmp_path / "h.csv"), [1.0])
    run(callback, [1.0])
    assert drawn[0][4]["loss"] == [3.0]
    with pytest.raises(FileNotFoundError):
        PlotCurves(compare=tmp_path / "none.csv")
    with pytest.raises(ValueError, match="Received: history with seconds"):
        PlotCurves(compare={"seconds": [1.0]})


def test_an_unknown_name_for_a_log_axis_warns_once_and_draws_the_others(drawn):
    with pytest.warns(UserWarning, match="no metric 'los' to draw logarithmically") as warned:
        run(always(log=("los", "val_loss", "learning_rate")), [3.0, 2.0])
    assert len(warned) == 1
    assert drawn[1][3] == ["val_loss", "learning_rate"]


def test_early_stopping_does_not_leave_the_last_epochs_undrawn(tmp_path, drawn):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.ones((4, 1), "float32")
    stop = keras.callbacks.EarlyStopping("loss", patience=2)
    model.fit(x, x, epochs=9, verbose=0, callbacks=[PlotCurves(tmp_path / "c.png"), stop])
    assert [columns["epoch"] for columns, *_ in drawn] == [[1, 2, 3]]


@pytest.mark.parametrize("path", ["curves", "curves.jpg", "curves.txt"])
def test_another_kind_of_file_is_refused_at_once(path):
    with pytest.raises(ValueError, match=r"must end in \.png, \.svg, \.pdf\. Received: path="):
        PlotCurves(path)


def test_logs_without_a_metric_draw_nothing(tmp_path):
    callback = PlotCurves(tmp_path / "c.png")
    callback.set_params({})
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"learning_rate": 0.1})
    callback.on_train_end()
    assert not (tmp_path / "c.png").exists()


@pytest.fixture
def notebook(monkeypatch):
    """Stand in for IPython in a running kernel; returns what was shown, with whether it was new."""
    shown = []

    class Handle:
        def update(self, image):
            shown.append(("update", image["data"]))

    def display(image, display_id):
        shown.append(("new", image["data"]))
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell
    module.display = types.ModuleType("IPython.display")
    module.display.display = display
    module.display.Image = lambda **options: options
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", module.display)
    return shell, shown


def test_in_a_notebook_one_picture_changes_in_place(tmp_path, notebook):
    _, shown = notebook
    callback = always(tmp_path / "c.png")
    run(callback, [3.0, 2.0])
    assert [kind for kind, _ in shown] == ["new", "update"]
    assert shown[-1][1] == (tmp_path / "c.png").read_bytes()


def test_each_fit_in_a_notebook_has_its_own_picture(notebook):
    _, shown = notebook
    callback = PlotCurves()
    run(callback, [3.0])
    run(callback, [2.0])
    assert [kind for kind, _ in shown] == ["new", "new"]


def test_a_notebook_is_shown_png_whatever_is_saved(tmp_path, notebook):
    _, shown = notebook
    run(PlotCurves(tmp_path / "c.svg"), [3.0])
    assert shown[0][1].startswith(b"\x89PNG")
    assert (tmp_path / "c.svg").read_bytes().startswith(b"<?xml")


def test_a_terminal_with_ipython_stays_quiet(tmp_path, notebook, capsys):
    shell, shown = notebook
    del shell.kernel
    run(PlotCurves(tmp_path / "c.png"), [3.0])
    assert shown == []
    assert capsys.readouterr() == ("", "")


def test_a_notebook_that_is_closed_warns_once_and_the_file_is_saved_all_the_same(tmp_path, notebook, monkeypatch):
    def closed(image, display_id):
        raise RuntimeError("the socket is closed")

    monkeypatch.setattr(sys.modules["IPython.display"], "display", closed)
    with pytest.warns(UserWarning, match="cannot be shown.*the socket is closed") as warned:
        run(always(tmp_path / "c.png"), [3.0, 2.0])
    assert len(warned) == 1
    assert (tmp_path / "c.png").exists()
