"""The history on disk is whole, exact, and goes on after a resume."""

import math
import os

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davidnet_callbacks import HistoryCSV, history, read_history
from davidnet_callbacks.history_file import columns_of, rows_of, write_history


class Clock:
    """A clock that is a second later at every look."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(history, "perf_counter", Clock())


def run(callback, logs, initial_epoch=0):
    """What fit calls, for one dict of logs an epoch."""
    callback.on_train_begin()
    for epoch, values in enumerate(logs, initial_epoch):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, dict(values))


def losses(*values):
    return [{"loss": value, "val_loss": 2 * value, "learning_rate": 0.1} for value in values]


def test_columns_are_epoch_rate_metrics_and_seconds(tmp_path):
    run(HistoryCSV(tmp_path / "new" / "h.csv"), losses(0.5, 0.1 + 0.2))
    assert (tmp_path / "new/h.csv").read_text() == (
        "epoch,learning_rate,loss,val_loss,seconds\n1,0.1,0.5,1.0,1.0\n2,0.1,0.30000000000000004,0.6000000000000001,2.0\n"
    )
    assert os.listdir(tmp_path / "new") == ["h.csv"]


def test_the_columns_in_memory_are_the_files(tmp_path):
    callback = HistoryCSV(tmp_path / "h.csv")
    assert callback.columns == {}
    for initial_epoch, rows in ((0, losses(0.5, 0.25)), (2, [{"loss": 0.1, "learning_rate": 0.1}, *losses(0.05)])):
        run(callback, [{**row, "val_late": 1.0} if row["loss"] == 0.05 else row for row in rows], initial_epoch)
        np.testing.assert_equal(callback.columns, read_history(tmp_path / "h.csv"))
        assert list(callback.columns) == list(read_history(tmp_path / "h.csv"))


def test_fit_writes_what_keras_records(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    x = np.ones((4, 1), "float32")
    record = model.fit(x, x, epochs=2, verbose=0, validation_data=(x, x), callbacks=[HistoryCSV(tmp_path / "h.csv")])
    columns = read_history(tmp_path / "h.csv")
    assert columns.pop("epoch") == [1, 2]
    del columns["seconds"]
    assert columns == record.history


def test_the_file_is_there_after_every_epoch(tmp_path):
    callback = HistoryCSV(tmp_path / "h.csv")
    run(callback, losses(3))
    assert read_history(tmp_path / "h.csv")["loss"] == [3]


def test_a_resumed_run_gives_the_file_of_the_whole_run(tmp_path):
    run(HistoryCSV(tmp_path / "whole.csv"), losses(3, 2, 1))
    run(HistoryCSV(tmp_path / "h.csv"), losses(3, 2))
    run(HistoryCSV(tmp_path / "h.csv"), losses(1), initial_epoch=2)
    assert (tmp_path / "h.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_epochs_after_the_resumed_one_are_dropped(tmp_path):
    run(HistoryCSV(tmp_path / "h.csv"), losses(3, 2, 7))
    run(HistoryCSV(tmp_path / "h.csv"), losses(1), initial_epoch=2)
    columns = read_history(tmp_path / "h.csv")
    assert columns["loss"] == [3, 2, 1]
    assert columns["seconds"] == [1, 2, 3]


def test_without_initial_epoch_the_file_starts_anew(tmp_path):
    callback = HistoryCSV(tmp_path / "h.csv")
    run(callback, losses(3, 2))
    run(callback, losses(1))
    assert read_history(tmp_path / "h.csv")["loss"] == [1]


def test_a_resume_needs_the_epochs_before(tmp_path):
    with pytest.raises(ValueError, match=r"no history of the epochs before.* Received: path="):
        run(HistoryCSV(tmp_path / "h.csv"), losses(1), initial_epoch=2)
    run(HistoryCSV(tmp_path / "h.csv"), losses(3))
    before = (tmp_path / "h.csv").read_bytes()
    with pytest.raises(ValueError, match=r"ends after epoch 1.* Received: path="):
        run(HistoryCSV(tmp_path / "h.csv"), losses(1), initial_epoch=2)
    assert (tmp_path / "h.csv").read_bytes() == before


@pytest.mark.parametrize("logs", [{"loss": 1.0}, {"loss": 1.0, "learning_rate": 0.1, "mae": 1.0}])
def test_a_resume_with_other_metrics_is_refused_and_keeps_the_file(tmp_path, logs):
    run(HistoryCSV(tmp_path / "h.csv"), losses(3))
    before = (tmp_path / "h.csv").read_bytes()
    with pytest.raises(ValueError, match=r"other columns than this one \((learning_rate|mae)\).* Received: path="):
        run(HistoryCSV(tmp_path / "h.csv"), [logs], initial_epoch=1)
    assert (tmp_path / "h.csv").read_bytes() == before


def test_epochs_without_validation_leave_their_cells_empty(tmp_path):
    logs = losses(4, 3, 2)
    for skipped in (logs[0], logs[2]):
        del skipped["val_loss"]
    run(HistoryCSV(tmp_path / "h.csv"), logs[:1])
    run(HistoryCSV(tmp_path / "h.csv"), logs[1:], initial_epoch=1)
    values = read_history(tmp_path / "h.csv")["val_loss"]
    assert math.isnan(values[0]) and values[1] == 6 and math.isnan(values[2])


def test_a_loss_of_nan_does_not_prevent_a_resume(tmp_path):
    run(HistoryCSV(tmp_path / "h.csv"), losses(math.nan, math.inf))
    run(HistoryCSV(tmp_path / "h.csv"), losses(1), initial_epoch=2)
    values = read_history(tmp_path / "h.csv")["loss"]
    assert math.isnan(values[0]) and values[1:] == [math.inf, 1]


def test_logs_that_are_no_number_are_left_out(tmp_path):
    run(HistoryCSV(tmp_path / "h.csv"), [{"loss": np.float32(1), "matrix": np.ones((2, 2)), "note": "x", "none": None}])
    assert list(read_history(tmp_path / "h.csv")) == ["epoch", "loss", "seconds"]


def test_a_failed_write_keeps_the_epochs_before(tmp_path, monkeypatch):
    callback = HistoryCSV(tmp_path / "h.csv")
    run(callback, losses(3))
    before = (tmp_path / "h.csv").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        callback.on_epoch_begin(1)
        callback.on_epoch_end(1, losses(2)[0])
    assert (tmp_path / "h.csv").read_bytes() == before
    assert os.listdir(tmp_path) == ["h.csv"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"loss,epoch\n1,1\n",
        b"epoch,loss,loss\n1,1,1\n",
        b"epoch,loss\n1\n",
        b"epoch,loss\n1,2,3\n",
        b"epoch,loss\n1,x\n",
        b"epoch,loss\n2,1\n",
        b"epoch,loss\n1,1\n1,1\n",
        b"epoch,loss\n1,1\n\n",
        b'epoch,loss\n1,"1\n',
        b"\xff\xfe",
        b"epoch\n" + b"1" * 200_000,
    ],
)
def test_a_file_that_is_no_history_is_refused(tmp_path, content):
    (tmp_path / "h.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"not a history that HistoryCSV wrote: .* Received: path="):
        read_history(tmp_path / "h.csv")


def test_a_file_saved_by_a_spreadsheet_program_is_read(tmp_path):
    (tmp_path / "h.csv").write_bytes(b"\xef\xbb\xbfepoch,loss\r\n1,0.5\r\n")
    assert read_history(tmp_path / "h.csv") == {"epoch": [1], "loss": [0.5]}


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_history(tmp_path / "h.csv")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(b"epoch,loss\n1," + content)
    try:
        assert set(read_history(path)) == {"epoch", "loss"}
    except ValueError as error:
        assert "Received: path=" in str(error)


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8).filter(
    lambda name: name not in ("epoch", "learning_rate", "seconds")
)
values = st.floats(allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(names, values, max_size=3), min_size=1, max_size=3))
def test_whatever_is_written_is_read_back(tmp_path_factory, logs):
    path = tmp_path_factory.getbasetemp() / "round.csv"
    rows = [{"epoch": number} | row for number, row in enumerate(logs, 1)]
    write_history(path, columns_of(rows))
    assert rows_of(read_history(path)) == rows


def test_the_clock_goes_on_from_its_state_rather_than_from_the_last_row(tmp_path):
    callback = HistoryCSV(tmp_path / "history.csv")
    callback.on_train_begin()
    callback.set_state({"seconds": 1000.0})
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"loss": 1.0})
    assert 1000 <= read_history(callback.path)["seconds"][0] < 1100
    assert 1000 <= callback.get_state()["seconds"] < 1100
    callback.set_state({"seconds": 5000.0})  # inside an epoch
    callback.on_epoch_begin(1)
    callback.on_epoch_end(1, {"loss": 1.0})
    assert 5000 <= read_history(callback.path)["seconds"][1] < 5100
