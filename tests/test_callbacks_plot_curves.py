"""The curves are redrawn every epoch, saved whole, and never end a training run."""

import os
import sys
import types

import keras
import numpy as np
import pytest

from davidnet_callbacks import HistoryCSV, PlotCurves, plot_curves


@pytest.fixture
def drawn(monkeypatch):
    """Record the histories that are drawn; still draw the first, small."""
    calls = []
    real = plot_curves.plot_history

    def record(columns, title=None, epochs=None):
        calls.append((dict(columns), title, epochs))
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
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.ones((4, 1), "float32")
    callback = PlotCurves(tmp_path / "c.png", title="T")
    model.fit(x, x, epochs=3, verbose=0, validation_data=(x, x), callbacks=[callback])
    assert [columns["epoch"] for columns, _, _ in drawn] == [[1], [1, 2], [1, 2, 3]]
    assert set(drawn[0][0]) == {"epoch", "loss", "val_loss"}
    assert drawn[0][1:] == ("T", 3)


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
    callback = PlotCurves(tmp_path / "file" / "c.png")
    with pytest.warns(UserWarning, match="training goes on") as warned:
        run(callback, [3.0, 2.0, 1.0])
    assert len(warned) == 1
    assert len(drawn) == 3


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
    callback = PlotCurves(tmp_path / "c.png")
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


def test_a_very_long_run_is_not_spent_on_drawing(drawn, monkeypatch, tmp_path):
    clock = iter(range(10**6))  # a second passes at each look at the clock: drawing takes one, an epoch one
    monkeypatch.setattr(plot_curves, "perf_counter", lambda: next(clock))
    callback = PlotCurves(tmp_path / "curves.png")
    run(callback, [1.0] * 395)
    lengths = [len(columns["loss"]) for columns, _, _ in drawn]
    assert lengths[:100] == list(range(1, 101))
    assert 10 <= len(lengths[100:]) <= 20
    assert lengths[-1] < 395
    callback.on_train_end()
    callback.on_train_end()
    assert [len(columns["loss"]) for columns, _, _ in drawn][len(lengths) :] == [395]
