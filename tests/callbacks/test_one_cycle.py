"""The triangle takes its length from fit."""

import keras
import numpy as np
import pytest

from davidnet_callbacks import BatchLearningRateScheduler, OneCycleTriangle, one_cycle_triangle


def started(callback, epochs, steps=4):
    """The callback as after fit's `on_train_begin`."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callback.set_model(model)
    callback.set_params({"epochs": epochs, "steps": steps})
    callback.on_train_begin()
    return callback


def test_the_epochs_come_from_fit():
    assert started(OneCycleTriangle(0.4), 24).schedule == one_cycle_triangle(0.4, 24)
    assert started(OneCycleTriangle(0.4, warmup_epochs=2.5), 6).schedule == one_cycle_triangle(0.4, 6, 2.5)


def test_each_fit_has_its_own_length():
    callback = started(OneCycleTriangle(0.4), 24)
    assert started(callback, 10).schedule == one_cycle_triangle(0.4, 10)


def test_epochs_that_are_given_win_over_fit():
    callback = OneCycleTriangle(0.4, 8, 3)
    assert callback.schedule == one_cycle_triangle(0.4, 8, 3)
    assert started(callback, 24).schedule == one_cycle_triangle(0.4, 8, 3)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_fit_ends_near_zero_and_peaks_at_the_peak(epochs):
    callback = OneCycleTriangle(0.4)
    rates = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(float(callback.model.optimizer.learning_rate))
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.ones((8, 1), "float32")
    history = model.fit(x, x, batch_size=2, epochs=epochs, verbose=0, callbacks=[callback, record])
    assert max(rates) == pytest.approx(0.4)
    assert rates[0] == 0
    assert rates[-1] < 0.25
    assert history.history["learning_rate"][-1] == 0


def test_without_epochs_there_is_no_schedule_before_fit():
    with pytest.raises(ValueError, match="there is none before it begins"):
        OneCycleTriangle(0.4).schedule(0.0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"peak": 0},
        {"peak": 1, "epochs": 0},
        {"peak": 1, "warmup_epochs": -1},
        {"peak": 1, "epochs": 2, "warmup_epochs": 3},
    ],
)
def test_bad_arguments_are_refused_at_once(arguments):
    with pytest.raises(ValueError, match="Received: "):
        OneCycleTriangle(**arguments)


def test_a_warm_up_longer_than_fit_is_refused_when_training_begins():
    with pytest.raises(ValueError, match="Received: warmup_epochs=5"):
        started(OneCycleTriangle(0.4, warmup_epochs=5), 3)


def test_it_is_a_batch_learning_rate_scheduler():
    assert isinstance(OneCycleTriangle(0.4), BatchLearningRateScheduler)


def test_the_ends_may_be_above_zero():
    callback = OneCycleTriangle(2.0, warmup_epochs=2, start=0.2, end=0.07)
    rates = [started(callback, 10).schedule(epoch) for epoch in (0, 1, 2, 6, 10, 11)]
    np.testing.assert_allclose(rates, [0.4, 1.2, 2.0, 1.07, 0.14, 0.14])
    assert one_cycle_triangle(2.0, 4, 0, end=0.5)(4) == 1.0
    assert one_cycle_triangle(2.0, 4, 4, start=0.5)(0) == 1.0


@pytest.mark.parametrize(("name", "value"), [("start", -0.1), ("end", 1.5), ("end", float("nan"))])
def test_ends_that_are_no_shares_of_the_peak_are_refused(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}="):
        OneCycleTriangle(2.0, **{name: value})
