"""Metrics whose names a callback needs are refused before training; paths may begin with the home folder."""

import copy
import os

import keras
import numpy as np
import pytest

from davidnet_callbacks import (
    BatchLearningRateScheduler,
    BatchMomentumScheduler,
    Cyclical,
    DawnbenchLog,
    EpochTable,
    HistoryCSV,
    PiecewiseCosine,
    PiecewiseLinear,
    PlotCurves,
    Throughput,
    WarmupDecay,
    atomic_write,
    plot_runs,
    read_history,
)

X = np.ones((4, 1), "float32")
OWN = [
    (lambda: HistoryCSV("h.csv"), ["epoch", "seconds"]),
    (EpochTable, ["epoch", "seconds", "lr", "learning_rate", "momentum", "images_per_second"]),
    (lambda: PlotCurves("c.png"), ["epoch", "seconds", "lr", "learning_rate", "train_seconds"]),
    (Throughput, ["images_per_second", "train_seconds", "seconds_to_target"]),
    (lambda: BatchLearningRateScheduler(lambda progress: 0.1), ["learning_rate"]),
]
CASES = [(make, name) for make, names in OWN for name in names]


class Steps(keras.callbacks.Callback):
    taken = 0

    def on_train_batch_end(self, batch, logs=None):
        self.taken += 1


def compiled(**options):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True, **options)
    return model


@pytest.mark.parametrize(("make", "name"), CASES)
@pytest.mark.parametrize("kind", ["metrics", "weighted_metrics"])
def test_a_metric_that_would_lose_its_column_is_refused_before_the_first_step(tmp_path, monkeypatch, make, name, kind):
    monkeypatch.chdir(tmp_path)
    steps = Steps()
    model = compiled(**{kind: ["mae", keras.metrics.MeanSquaredError(name=name)]})
    with pytest.raises(ValueError, match=f"keeps the name '{name}'.* Received: a metric named '{name}'"):
        model.fit(X, X, verbose=0, callbacks=[make(), steps])
    assert steps.taken == 0
    assert os.listdir(tmp_path) == []


def test_momentum_is_a_name_of_its_scheduler():
    callback = BatchMomentumScheduler(lambda progress: 0.9)
    model = compiled(metrics=[keras.metrics.MeanSquaredError(name="momentum")])
    model.optimizer.momentum = keras.Variable(0.9)
    callback.set_model(model)
    callback.set_params({"epochs": 1, "steps": 1})
    with pytest.raises(ValueError, match="keeps the name 'momentum'"):
        callback.on_train_begin()


def test_what_only_the_logs_show_is_refused_with_the_first_row(tmp_path):
    callback = HistoryCSV(tmp_path / "h.csv")
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    with pytest.raises(ValueError, match="Received: a metric named 'epoch'"):
        callback.on_epoch_end(0, {"epoch": 7.0, "loss": 1.0})


def test_every_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    own = [HistoryCSV("~/run/history.csv"), DawnbenchLog("~/run/log.tsv"), PlotCurves("~/run/c.png", budget=np.inf)]
    model = compiled(metrics=["accuracy"])
    model.fit(X, X, validation_data=(X, X), verbose=0, callbacks=own)
    assert read_history("~/run/history.csv")["epoch"] == [1]
    again = PlotCurves("~/c.png", history="~/run/history.csv", compare="~/run/history.csv")
    model.fit(X, X, epochs=2, initial_epoch=1, verbose=0, callbacks=[again])
    assert len(plot_runs(["~/run"]).axes) == len(plot_runs(["~/run/history.csv"]).axes)
    with atomic_write("~/result.json") as temporary:
        temporary.write_text("{}")
    assert sorted(os.listdir(tmp_path)) == ["c.png", "elsewhere", "result.json", "run"]
    assert os.listdir(".") == []


@pytest.mark.parametrize("make", [HistoryCSV, DawnbenchLog])
def test_a_path_that_is_no_file_is_refused_at_once(tmp_path, make):
    for path in ("", tmp_path):
        with pytest.raises(ValueError, match=r"Name a file.* Received: path="):
            make(path)


@pytest.mark.parametrize(
    "schedule",
    [
        Cyclical(np.float32(0.01), np.float64(0.1), np.int64(2), mode=np.str_("triangular")),
        WarmupDecay(np.float64(0.1), np.int32(4), warmup_epochs=np.float32(1)),
        PiecewiseLinear(np.arange(3), np.ones(3, "float32")),
        PiecewiseCosine([np.float64(0), np.int8(1)], np.ones(2)),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_a_config_holds_plain_values(schedule):
    config = copy.deepcopy(schedule.get_config())
    for value in config.values():
        for one in value if type(value) is list else [value]:
            assert type(one) in (int, float, str)
    assert type(schedule).from_config(config) == schedule
