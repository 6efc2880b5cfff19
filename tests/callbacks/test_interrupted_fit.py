"""A `fit` that an exception ended, at any hook, leaves nothing behind that the next one would train by."""

import functools

import keras
import numpy as np
import pytest
from recording_optimizer import RecordingSGD

from davidnet_callbacks import (
    AverageWeights,
    BatchLearningRateScheduler,
    BatchMomentumScheduler,
    DawnbenchLog,
    EpochTable,
    HistoryCSV,
    LearningRateFinder,
    Lookahead,
    OneCycleCosine,
    OneCycleTriangle,
    PiecewiseLinear,
    PlotCurves,
    Throughput,
)

X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
FIT = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
NEXT = FIT | {"epochs": 1}  # the first epoch shows whether something acts that should not
RATE, MOMENTUM = 0.03, 0.25  # what the user sets after the exception
HOOKS = (
    "on_train_begin",
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_test_end",
    "on_epoch_end",
    "on_train_end",
)
EXECUTIONS = (1,) if keras.backend.backend() == "torch" else (1, 2)  # Keras refuses more with torch


class Boom(keras.callbacks.Callback):
    """Raises at the n-th call of one hook."""

    def __init__(self, hook, n):
        super().__init__()
        self.left = n
        setattr(self, hook, self.count)

    def count(self, *_, **__):
        self.left -= 1
        if self.left < 1:
            raise KeyboardInterrupt


def recorders(folder):
    return [
        Throughput(0.9),
        EpochTable(),
        HistoryCSV(folder / "h.csv"),
        PlotCurves(folder / "c.png"),
        DawnbenchLog(folder / "log.tsv"),
    ]


LINE = PiecewiseLinear((0, 3), (0.4, 0.1))
CALLBACKS = {
    "triangle": lambda _: [OneCycleTriangle(0.5)],
    "cosine": lambda _: [OneCycleCosine(0.5)],
    "rate and momentum": lambda _: [BatchLearningRateScheduler(LINE), BatchMomentumScheduler(LINE)],
    "average": lambda _: [AverageWeights(0.9, every=2)],
    "lookahead": lambda _: [Lookahead(2, 0.5)],
    "finder": lambda _: [LearningRateFinder(steps=10)],
    "recorders": recorders,
}


SCHEDULERS = ("triangle", "cosine", "rate and momentum")
NAMES = [(several, name) for name in CALLBACKS for several in (EXECUTIONS if name in SCHEDULERS else (1,))]
# Those that differ in nothing else than the callback need not meet every hook.
WHERE = dict.fromkeys(CALLBACKS, ("on_train_batch_begin", "on_epoch_end"))
WHERE |= dict.fromkeys(("triangle", "average", "finder"), HOOKS)
QUICK = [
    (2, "triangle", "on_train_batch_begin"),
    (1, "average", "on_test_batch_end"),
    (1, "finder", "on_train_batch_begin"),
]
MATRIX = [
    pytest.param(*cell, marks=() if cell in QUICK else pytest.mark.slow)
    for cell in ((several, name, hook) for several, name in NAMES for hook in WHERE[name])
]


def compiled(steps_per_execution):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "tanh"), keras.layers.BatchNormalization()])
    model.add(keras.layers.Dense(1, "sigmoid"))
    options = {} if keras.backend.backend() == "torch" else {"steps_per_execution": steps_per_execution}
    model.compile(RecordingSGD(), "mse", metrics=["accuracy"], **options)
    model.optimizer.build(model.trainable_variables)
    return model


def variables(model):
    return [*model.variables, *model.optimizer.variables]


def values(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables(model)]


def set_values(model, arrays):
    for variable, array in zip(variables(model), arrays, strict=True):
        variable.assign(array)


@functools.cache
def models(steps_per_execution):
    """Two models of the same structure, compiled once for all cases, and the values that both start from."""
    model, twin = compiled(steps_per_execution), compiled(steps_per_execution)
    return model, twin, values(model)


def interrupted(model, callbacks):
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, validation_data=(X, Y), callbacks=callbacks, **FIT)


@pytest.mark.parametrize(("several", "name", "hook"), MATRIX)
def test_the_next_fit_trains_as_a_fresh_model_would(several, name, hook, tmp_path):
    model, twin, start = models(several)
    for behind in (False, True):
        n = 2 if "epoch" in hook or "batch" in hook else 1
        own = CALLBACKS[name](tmp_path)
        set_values(model, start)
        interrupted(model, [*own, Boom(hook, n)] if behind else [Boom(hook, n), *own])
        if name == "finder":
            set_values(twin, start)
        elif name == "average" and hook != "on_train_end":
            set_values(twin, start)
            interrupted(twin, [Boom(hook, n)])
            for one, other in zip(values(model), values(twin), strict=True):
                np.testing.assert_array_equal(one, other)  # its own weights, at once
        else:
            set_values(twin, values(model))
        for one in (model, twin):
            one.optimizer.learning_rate = RATE
            if name != "finder":
                one.optimizer.momentum.assign(MOMENTUM)
            one.fit(X, Y, **NEXT)
        for one, other in zip(values(model), values(twin), strict=True):
            np.testing.assert_array_equal(one, other)
        assert {"make_train_function", "train_step", "evaluate"}.isdisjoint(vars(model))


@pytest.mark.parametrize("several", EXECUTIONS)
def test_a_single_batch_after_an_interruption_is_trained_at_the_user_s_rate(several):
    model, _, start = models(several)
    set_values(model, start)
    interrupted(model, [OneCycleTriangle(0.5), Boom("on_train_batch_begin", 3)])
    model.optimizer.learning_rate = 0.0
    before = model.get_weights()[0]
    model.train_on_batch(X, Y)
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_weights_that_were_loaded_after_an_interrupted_sweep_stay():
    model, twin, start = models(1)
    set_values(model, start)
    interrupted(model, [LearningRateFinder(steps=10), Boom("on_train_batch_begin", 3)])
    loaded = [array + 100 for array in start]
    for one in (model, twin):
        set_values(one, loaded)
        one.fit(X, Y, **NEXT)
    for one, other in zip(values(model), values(twin), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_single_layer_that_was_set_after_an_interrupted_sweep_stays():
    model, _, start = models(1)
    set_values(model, start)
    interrupted(model, [LearningRateFinder(steps=10), Boom("on_train_batch_begin", 3)])
    layer = next(layer for layer in model.layers if layer.trainable_variables)
    layer.set_weights([np.full_like(weight, 0.7) for weight in layer.get_weights()])
    model.optimizer.learning_rate = 0.0
    model.fit(X, Y, **NEXT)
    for variable in layer.trainable_variables:
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), np.float32(0.7))


@pytest.mark.parametrize(("several", "name"), NAMES)
def test_a_fit_without_epochs_does_nothing(several, name, tmp_path):
    model, _, start = models(several)
    for options in ({"epochs": 0}, {"epochs": 3, "initial_epoch": 3}):
        set_values(model, start)
        own = model.train_function
        model.fit(X, Y, batch_size=8, verbose=0, callbacks=CALLBACKS[name](tmp_path), **options)
        for one, other in zip(values(model), start, strict=True):
            np.testing.assert_array_equal(one, other)
        assert model.train_function is own or own is None
        assert {"make_train_function", "train_step", "evaluate"}.isdisjoint(vars(model))
    assert not (tmp_path / "h.csv").exists()
