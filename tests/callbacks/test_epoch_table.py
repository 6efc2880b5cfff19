"""The table has a row an epoch, aligned under its header."""

import io

import keras
import numpy as np
import pytest

from davidnet_callbacks import EpochTable, OneCycleTriangle, epoch_table

LOGS = {"accuracy": 0.4349, "loss": 1.56789, "val_accuracy": 0.512, "val_loss": 1.25, "learning_rate": 0.08 / 512}


def printed(table, *logs, initial_epoch=0):
    table.file = io.StringIO()
    table.set_model(keras.Sequential([keras.layers.Dense(1)]))
    table.on_train_begin()
    for epoch, values in enumerate(logs, initial_epoch):
        table.on_epoch_end(epoch, dict(values))
    return table.file.getvalue().splitlines()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    times = iter(range(0, 10_000, 26))
    monkeypatch.setattr(epoch_table, "perf_counter", lambda: next(times))


def test_the_columns_are_those_of_the_reference():
    assert printed(EpochTable(512), LOGS, LOGS | {"learning_rate": 0.0}) == [
        "epoch         lr  train loss  train acc   val loss    val acc    seconds",
        "    1       0.08      1.5679     0.4349     1.2500     0.5120       26.0",
        "    2          0      1.5679     0.4349     1.2500     0.5120       52.0",
    ]


def test_other_metrics_have_columns_too():
    header, row = printed(EpochTable(), {"loss": 1e-5, "a_long_name_of_a_metric": 123456.0, "note": "x"})
    assert header.split() == ["epoch", "train", "loss", "train", "a_long_name_of_a_metric", "seconds"]
    assert row.split() == ["1", "1.000e-05", "1.235e+05", "26.0"]
    assert len(header) == len(row)


def test_validation_that_begins_later_gets_a_new_header_and_leaves_gaps():
    train_only = {"loss": 1.0}
    lines = printed(EpochTable(), train_only, train_only | {"val_loss": 2.0}, train_only)
    assert [line.split()[0] for line in lines] == ["epoch", "1", "epoch", "2", "3"]
    assert len({len(line) for line in lines[2:]}) == 1
    assert len(lines[-1].split()) == 3


def test_a_resumed_run_goes_on_counting():
    assert printed(EpochTable(seconds=1000), LOGS, initial_epoch=4)[1].split()[0::6] == ["5", "1026.0"]


def test_the_clock_waits_for_steps_that_are_under_way(monkeypatch):
    times = iter([0.0, 26.0, 52.0])
    monkeypatch.setattr(epoch_table, "wait_for_steps", lambda model: next(times))
    monkeypatch.setattr(epoch_table, "perf_counter", lambda: next(times))
    assert printed(EpochTable(), LOGS)[1].split()[-1] == "52.0"


def test_nan_is_shown():
    assert "nan" in printed(EpochTable(), {"loss": np.nan})[1]


def test_fit_prints_to_standard_output(capsys):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.ones((4, 1), "float32")
    model.fit(x, x, epochs=2, verbose=0, callbacks=[OneCycleTriangle(0.1), EpochTable(2.0)])
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["epoch", "lr", "train", "loss", "seconds"]
    assert [row.split()[:2] for row in rows] == [["1", "0.2"], ["2", "0"]]
