"""Lookahead and the moving average, against the same worked out in NumPy from the weights after every step."""

from functools import cache
from itertools import count

import keras
import numpy as np
import pytest

from davidnet_callbacks import AverageWeights, Lookahead, OneCycleTriangle

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 5)).astype("float32")
Y = (X @ RANDOM.normal(size=(5, 1))).astype("float32")
FIT = {"batch_size": 8, "shuffle": False, "verbose": 0}  # 5 batches an epoch
BACKEND = keras.backend.backend()


@pytest.fixture(autouse=True)
def from_the_first():
    compiled.numbers = count()


def compiled():
    """One model after another, compiled once for all tests, with the weights and the state that all start from."""
    keras.utils.set_random_seed(0)
    model, start = kept(next(compiled.numbers))
    for variable, value in start:
        variable.assign(value)
    return model


@cache
def kept(number):
    model = fresh()
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    return model, [(variable, np.array(keras.ops.convert_to_numpy(variable))) for variable in variables]


def fresh(seed=0, policy="float32", **options):
    """A model with batch statistics and a seed generator."""
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Dense(6, activation="tanh", dtype=policy),
        keras.layers.BatchNormalization(momentum=0.8, dtype=policy),
        keras.layers.Dropout(0.2, seed=3),
    ]
    model = keras.Sequential([keras.Input((5,)), *layers, keras.layers.Dense(1, dtype=policy)])
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", **options)
    return model


def values(model):
    """All that is averaged, as arrays of their own."""
    return [np.array(keras.ops.convert_to_numpy(weight)).astype("float32") for weight in model.weights]


def close(found, wanted, tolerance=1e-5):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def differ(one, other):
    return all(not np.allclose(a, b, atol=1e-4) for a, b in zip(one, other, strict=True) if a.size > 1)


class Record(keras.callbacks.Callback):
    """The weights after each step, in each validation and at each epoch's end."""

    def __init__(self):
        super().__init__()
        self.steps, self.tests, self.epochs = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(values(self.model))

    def on_test_batch_begin(self, batch, logs=None):
        if not batch:
            self.tests.append(values(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(values(self.model))


class Before(Record):
    """The weights after each step, seen before a Lookahead that is later in the list."""


def slow_copies(start, fast, every, decays):
    """The slow copy after each update, from the weights that each update found."""
    slow, found = start, []
    for step, decay in zip(range(every, len(fast) + 1, every), decays, strict=False):
        slow = [decay * a + (1 - decay) * b for a, b in zip(slow, fast[step - 1], strict=True)]
        found.append(slow)
    return found


@pytest.mark.parametrize(
    ("options", "every", "decay"),
    [
        ({}, 5, lambda share: 0.95**5 * share**3),
        ({"every": 3}, 3, lambda share: 0.95**3 * share**3),
        ({"every": 2, "decay": 0.5}, 2, lambda share: 0.5),
        ({"every": 4, "decay": lambda share: share}, 4, lambda share: share),
        ({"every": 4, "decay": lambda share: share, "epochs": 6}, 4, lambda share: share / 2),
    ],
)
def test_lookahead_sets_the_weights_to_the_slow_copy(options, every, decay):
    model = compiled()
    start, before, after = values(model), Before(), Record()
    model.fit(X, Y, epochs=3, callbacks=[before, Lookahead(**options), after], **FIT)
    steps = range(every, 16, every)
    wanted = slow_copies(start, before.steps, every, [decay(step / 15) for step in steps])
    for step, slow in zip(steps, wanted, strict=True):
        close(after.steps[step - 1], slow)
    for step in set(range(1, 15)) - set(steps):
        close(after.steps[step - 1], before.steps[step - 1], 0)
    close(values(model), wanted[-1])
    assert differ(values(model), before.steps[-1])


def test_lookahead_moves_batch_statistics_and_leaves_seeds_and_momentum_alone():
    model, twin = compiled(), compiled()
    fit = FIT | {"epochs": 1}
    model.fit(X, Y, callbacks=[Lookahead(every=5, decay=0.5)], **fit)
    twin.fit(X, Y, **fit)
    moving = [index for index, weight in enumerate(model.weights) if "moving" in weight.path]
    assert len(moving) == 2
    for index in moving:
        assert not np.allclose(values(model)[index], values(twin)[index])
    seeds = [[v for v in one.variables if "seed" in v.path] for one in (model, twin)]
    for one, other in [
        *zip(*seeds, strict=True),
        *zip(model.optimizer.variables, twin.optimizer.variables, strict=True),
    ]:
        np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(v) for v in (one, other)))


def test_the_last_validation_of_lookahead_is_of_the_weights_that_stay():
    model, record = compiled(), Record()
    model.fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=[Lookahead(every=4, decay=0.9), record], **FIT)
    close(record.tests[-1], values(model), 0)
    close(record.epochs[-1], values(model), 0)
    assert differ(record.steps[-2], values(model))


def test_lookahead_ends_with_the_slow_copy_when_training_stops_early():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    model, record = compiled(), Record()
    model.fit(X, Y, epochs=4, callbacks=[Lookahead(every=2, decay=0.5), record, Stop()], **FIT)
    assert len(record.steps) == 3
    close(values(model), record.steps[1], 0)


def moving_average(fast, every, decay):
    """The average after each step, as a weighted mean of the weights seen at updates."""
    averages, seen = [], []
    for step, weights in enumerate(fast, 1):
        if step % every == 0:
            seen.append(weights)
        shares = decay ** np.arange(len(seen))[::-1]
        averages.append([np.tensordot(shares, np.stack(w), 1) / shares.sum() for w in zip(*seen, strict=True)])
    return averages


@pytest.mark.parametrize("every", [1, 2])
def test_the_average_is_validated_and_kept_while_training_goes_on_without_it(every):
    model, twin, record, plain = compiled(), compiled(), Record(), Record()
    fit = FIT | {"epochs": 3, "validation_data": (X, Y)}
    history = model.fit(X, Y, callbacks=[AverageWeights(0.8, every), record], **fit).history
    twin.fit(X, Y, callbacks=[plain], **fit)
    for one, other in zip(record.steps + record.epochs, plain.steps + plain.epochs, strict=True):
        close(one, other, 1e-6)
    wanted = moving_average(plain.steps, every, 0.8)
    for epoch, seen in enumerate(record.tests):
        close(seen, wanted[5 * epoch + 4])
    close(values(model), wanted[-1])
    assert differ(values(model), plain.steps[-1])
    assert model.evaluate(X, Y, verbose=0, batch_size=8) == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_a_function_sets_the_decay_of_the_average():
    model, record = compiled(), Record()
    model.fit(X, Y, epochs=2, callbacks=[AverageWeights(lambda share: float(share < 0.5)), record], **FIT)
    close(values(model), record.steps[-1])  # a decay of 1 takes nothing in, one of 0 only the newest
    model, record = compiled(), Record()
    model.fit(X, Y, epochs=2, callbacks=[AverageWeights(lambda share: float(share > 0.5)), record], **FIT)
    close(values(model), record.steps[4])


def test_evaluating_outside_fit_changes_no_weight():
    model, average = compiled(), AverageWeights(0.8)
    average.on_test_begin()
    model.fit(X, Y, callbacks=[average], **FIT)
    before = values(model)
    model.evaluate(X, Y, verbose=0, callbacks=[average])
    close(values(model), before, 0)


@pytest.mark.parametrize("make", [lambda: Lookahead(3, 0.5), lambda: AverageWeights(0.9, 3)], ids=["slow", "average"])
def test_each_fit_begins_anew(make):
    callback, again = make(), make()
    model, twin = compiled(), compiled()
    model.fit(X, Y, epochs=1, callbacks=[callback], **FIT)
    twin.fit(X, Y, epochs=1, callbacks=[callback], **FIT)
    model.fit(X, Y, epochs=1, callbacks=[callback], **FIT)
    twin.fit(X, Y, epochs=1, callbacks=[again], **FIT)
    close(values(model), values(twin), 0)


class Part(keras.callbacks.CallbackList):
    """A `fit` that hands a state over, once the epoch has begun or right after training has."""

    def __init__(self, callbacks, state, model, inside):
        super().__init__(callbacks, add_history=True, model=model, epochs=4, steps=5, verbose=0)
        self.state, self.inside, self.owner = state, inside, callbacks[0]

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if not self.inside:
            self.owner.set_state(self.state)

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self.inside and epoch == 2:
            self.owner.set_state(self.state)


class Snapshot(keras.callbacks.Callback):
    """State and variables at an epoch's end."""

    def __init__(self, owner, epoch):
        super().__init__()
        self.owner, self.epoch = owner, epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.state, model = self.owner.get_state(), self.model
            variables = [*model.variables, *model.optimizer.variables]
            self.variables = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def test_the_last_validation_is_of_the_weights_that_stay_though_training_is_to_be_longer():
    model = compiled()
    history = model.fit(X, Y, validation_data=(X, Y), epochs=2, callbacks=[Lookahead(3, epochs=100)], **FIT).history
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-5)


def test_an_interrupted_validation_does_not_cost_the_weights():
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.last = values(self.model)

        def on_test_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    class First(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.weights = values(self.model)

    model, average, interrupt, first = compiled(), AverageWeights(0.9), Interrupt(), First()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, validation_data=(X, Y), epochs=2, callbacks=[average, interrupt], **FIT)
    close(values(model), interrupt.last, 0)  # at once
    model.fit(X, Y, epochs=1, callbacks=[average, first], **FIT)
    close(first.weights, interrupt.last, 0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the others build a model by calling it")
def test_a_model_without_a_call_is_known_by_its_layers():
    class Parts(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.dense.build((None, 5))

        def train_step(self, data):
            self.dense.kernel.assign_add(keras.ops.ones_like(self.dense.kernel))
            return {"loss": 0.0}

    model = Parts()
    model.compile("sgd", "mse")
    before = values(model)
    model.fit(X, Y, epochs=1, callbacks=[AverageWeights(0.5)], **FIT)
    assert not np.allclose(values(model)[0], before[0])


@pytest.mark.parametrize("make", [lambda: Lookahead(3), lambda: AverageWeights(0.9, 3)], ids=["slow", "average"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(make, inside):
    model, callback = compiled(), make()
    snapshot = Snapshot(callback, 1)
    model.fit(X, Y, epochs=4, callbacks=[callback, snapshot], **FIT)
    assert all(type(array) is np.ndarray for array in snapshot.state["average"])
    resumed, again = fresh(seed=1), make()
    resumed.optimizer.build(resumed.trainable_variables)
    for variable, value in zip([*resumed.variables, *resumed.optimizer.variables], snapshot.variables, strict=True):
        variable.assign(value)
    part = Part([again], snapshot.state, resumed, inside)
    resumed.fit(X, Y, epochs=4, initial_epoch=2, callbacks=part, **FIT)
    close(values(resumed), values(model), 0)


def test_a_state_of_another_model_is_refused_and_one_from_before_training_is_empty():
    average = AverageWeights()
    average.set_model(compiled())
    assert average.get_state() == {"average": None}
    average.set_state(average.get_state())
    with pytest.raises(ValueError, match=r"another model's weights.*1 arrays of 3 numbers for 8 variables"):
        average.set_state({"average": [np.zeros(3)], "mass": 1.0, "step": 3})


def test_weights_that_another_callback_loads_when_training_begins_are_where_the_average_starts():
    model, other = compiled(), values(fresh(seed=5))

    class Loads(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            for weight, value in zip(self.model.weights, other, strict=True):
                weight.assign(value)

    before = Before()
    model.fit(X, Y, epochs=1, callbacks=[before, Lookahead(5, 0.5), Loads()], **FIT)
    close(values(model), slow_copies(other, before.steps, 5, [0.5])[-1])


def test_bfloat16_weights_are_averaged_in_float32():
    model, record = fresh(policy="bfloat16"), Record()
    average = AverageWeights(0.99)
    snapshot = Snapshot(average, 2)
    model.fit(X, Y, epochs=3, callbacks=[average, record, snapshot], **FIT)
    assert {array.dtype for array in snapshot.state["average"]} == {np.dtype("float32")}
    close(snapshot.state["average"], moving_average(record.steps, 1, 0.99)[-1])


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_of_unknown_length_needs_no_steps_with_a_number_and_does_with_a_function():
    def batches():
        for start in range(0, 40, 8):
            yield X[start : start + 8], Y[start : start + 8]

    model, twin = compiled(), compiled()
    model.fit(batches(), callbacks=[Lookahead(2, 0.5)], shuffle=False, verbose=0)
    twin.fit(X, Y, callbacks=[Lookahead(2, 0.5)], **FIT)
    close(values(model), values(twin), 1e-6)
    with pytest.raises(ValueError, match=r"pass steps_per_epoch to fit. Received: decay="):
        model.fit(batches(), callbacks=[Lookahead()], shuffle=False, verbose=0)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no steps_per_execution on torch")
def test_several_steps_an_execution_end_as_single_ones_or_are_refused():
    model, twin = fresh(steps_per_execution=2), fresh()
    fit = FIT | {"batch_size": 10, "epochs": 3}  # 4 batches an epoch
    for one in (model, twin):
        one.fit(X, Y, callbacks=[Lookahead(2, 0.5)], **fit)
    close(values(model), values(twin), 1e-6)
    for every, options in ((3, fit), (2, FIT)):
        with pytest.raises(ValueError, match=f"multiples of steps_per_execution.*=2, every={every}, batches="):
            model.fit(X, Y, callbacks=[AverageWeights(every=every)], **options)


def test_it_goes_with_a_scheduler_and_a_fit_without_validation():
    model = compiled()
    model.fit(X, Y, epochs=2, callbacks=[OneCycleTriangle(0.1), AverageWeights(), Lookahead()], **FIT)
    assert all(np.isfinite(weight).all() for weight in values(model))


def test_a_model_that_is_not_built_is_refused():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    lookahead = Lookahead(5, 0.5)
    lookahead.set_model(model)
    with pytest.raises(ValueError, match=r"build the model.*not built"):
        lookahead.on_train_begin()


@pytest.mark.parametrize("kind", [Lookahead, AverageWeights])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"every": 0}, "1 or more. Received: every=0"),
        ({"every": 2.0}, "Received: every=2.0"),
        ({"every": True}, "Received: every=True"),
        ({"decay": 1.0}, "below 1. Received: decay=1.0"),
        ({"decay": -0.1}, "Received: decay=-0.1"),
        ({"decay": "0.9"}, "Received: decay='0.9'"),
        ({"decay": float("nan")}, "Received: decay=nan"),
        ({"epochs": 0}, "Received: epochs=0"),
    ],
)
def test_impossible_arguments_are_refused(kind, arguments, words):
    with pytest.raises(ValueError, match=words):
        kind(**arguments)


def test_a_function_that_returns_no_share_is_refused():
    with pytest.raises(ValueError, match=r"At 0.2 of training the decay must be.*Received: decay=2"):
        compiled().fit(X, Y, callbacks=[AverageWeights(lambda share: 2)], **FIT)


def test_two_averages_in_one_fit_are_refused():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="One fit takes one AverageWeights"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[AverageWeights(), AverageWeights()])
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[AverageWeights()])
