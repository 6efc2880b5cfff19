"""Schedules are pure functions of progress."""

import dataclasses
import json
import pickle

import keras
import numpy as np
import pytest

from davidnet_callbacks import (
    BatchLearningRateScheduler,
    Cyclical,
    PiecewiseCosine,
    PiecewiseLinear,
    WarmupDecay,
    one_cycle_cosine,
    one_cycle_triangle,
)


def test_rates_lie_on_straight_lines_and_stay_constant_outside():
    schedule = PiecewiseLinear((1, 2, 4), (1.0, 3.0, 2.0))
    assert [schedule(x) for x in (0, 1, 1.5, 2, 3, 4, 9)] == [1, 1, 2, 3, 2.5, 2, 2]


def test_a_number_gives_a_float_and_an_array_an_array():
    schedule = PiecewiseLinear([0, 2], [0, 1])
    assert type(schedule(np.float32(1))) is float
    np.testing.assert_array_equal(schedule(np.array([[0, 1], [2, 3]])), [[0, 0.5], [1, 1]])


def test_the_triangle_has_the_rates_that_the_reference_prints():
    schedule = one_cycle_triangle(0.4, 24)
    printed = [round(schedule(epoch + 1), 4) for epoch in range(24)]
    assert printed[:6] == [0.08, 0.16, 0.24, 0.32, 0.4, 0.3789]
    assert printed[-1] == 0
    assert schedule(0) == 0


@pytest.mark.parametrize(
    ("epochs", "peak_at"), [(1, 0.5), (2, 1), (3, 1), (9, 2), (10, 2), (14, 3), (24, 5), (100, 20)]
)
def test_the_warm_up_is_a_fifth_of_the_run(epochs, peak_at):
    schedule = one_cycle_triangle(1, epochs)
    assert schedule(peak_at) == 1
    assert schedule(0) == schedule(epochs) == 0


def test_a_warm_up_of_zero_starts_at_the_peak():
    schedule = one_cycle_triangle(1, 4, warmup_epochs=0)
    assert [schedule(x) for x in (0, 1, 4)] == [1, 0.75, 0]


def test_a_warm_up_of_the_whole_run_never_comes_down():
    assert one_cycle_triangle(1, 4, warmup_epochs=4)(4) == 1


ALL = [
    one_cycle_triangle(0.3, 7, 2.5),
    one_cycle_cosine(0.3, 7, steps_per_epoch=11),
    PiecewiseCosine((1, 2, 4), (1.0, 3.0, 2.0)),
    WarmupDecay(0.3, 7, 2, "linear", 0.1, 0.05),
    Cyclical(0.1, 0.3, 1.5, "exp_range", 0.9),
]


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: type(schedule).__name__)
def test_schedules_survive_pickle_json_and_keras_saving(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert type(schedule).from_config(json.loads(json.dumps(schedule.get_config()))) == schedule
    assert BatchLearningRateScheduler(schedule).schedule == schedule  # its module registers the classes with Keras
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule)) == schedule
    assert hash(schedule) == hash(dataclasses.replace(schedule))


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: type(schedule).__name__)
def test_a_number_gives_what_an_array_gives(schedule):
    progress = np.linspace(-0.5, 8, 24).reshape(2, 12)
    rates = schedule(progress)
    assert rates.shape == (2, 12)
    assert type(schedule(2)) is float
    assert [schedule(float(x)) for x in progress.ravel()] == rates.ravel().tolist()


def test_schedules_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        one_cycle_triangle(1, 2).knots = (0,)


@pytest.mark.parametrize(
    ("knots", "values"),
    [
        ((), ()),
        ((0, 1), (1,)),
        ((0, 0), (1, 2)),
        ((1, 0), (1, 2)),
        ((0, np.nan), (1, 2)),
        ((0,), (np.inf,)),
        (5, 5),
        ((0,), ("1",)),
        ("01", (1, 2)),
        ((0,), (None,)),
    ],
)
def test_bad_knots_are_refused(knots, values):
    with pytest.raises(ValueError, match=r"Received: .*(knots|values)="):
        PiecewiseLinear(knots, values)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("peak", {"peak": 0}),
        ("peak", {"peak": -1}),
        ("peak", {"peak": "0.1"}),
        ("peak", {"peak": np.nan}),
        ("epochs", {"epochs": 0}),
        ("epochs", {"epochs": None}),
        ("epochs", {"epochs": np.inf}),
        ("warmup_epochs", {"warmup_epochs": -1}),
        ("warmup_epochs", {"warmup_epochs": 4.5}),
    ],
)
def test_a_bad_triangle_is_refused(name, arguments):
    with pytest.raises(ValueError, match=f"Received: .*{name}="):
        one_cycle_triangle(**({"peak": 1, "epochs": 4} | arguments))
