"""The finder sweeps over learning rates and leaves no trace in the model."""

import keras
import numpy as np
import pytest

from davidnet_callbacks import (
    BatchLearningRateScheduler,
    LearningRateFinder,
    OneCycleTriangle,
    find_learning_rate,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 5)).astype("float32")
Y = (X @ RANDOM.normal(size=(5, 1))).astype("float32")
BACKEND = keras.backend.backend()


def compiled(optimizer=None, build=True, **options):
    """A model with every kind of state: batch statistics, a seed generator, momentum, metrics."""
    # The dropout has a seed since without one torch's draws from torch's own generator.
    layers = [
        keras.layers.Dense(8, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.2, seed=3),
    ]
    model = keras.Sequential([*([keras.Input((5,))] if build else []), *layers, keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(0.03, momentum=0.9) if optimizer is None else optimizer
    model.compile(optimizer, "mse", metrics=["mae"], **options)
    return model


def trained(**options):
    model = compiled(**options)
    model.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    return model


@pytest.fixture(scope="module")
def model():
    """One trained model for all tests that put it back as it was: it is compiled once."""
    return trained()


def bits(model):
    """Every variable that training changes, as (path, bytes)."""
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [(variable.path, np.array(keras.ops.convert_to_numpy(variable)).tobytes()) for variable in variables]


def test_a_model_with_optimizers_of_its_own_is_refused():
    model = compiled()
    model.g_optimizer = keras.optimizers.Adam(0.1)
    with pytest.raises(ValueError, match="Received: g_optimizer"):
        quickly(model)


def test_a_train_step_that_returns_no_loss_is_refused():
    class OwnStep(keras.Model):
        def train_step(self, *state_and_data):
            return {"d_loss": 0.0} if len(state_and_data) == 1 else ({"d_loss": 0.0}, state_and_data[0])

    inputs = keras.Input((5,))
    model = OwnStep(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Received: logs of d_loss"):
        quickly(model)


@pytest.mark.skipif(BACKEND != "torch", reason="only torch has modules with buffers")
def test_the_buffers_of_torch_modules_come_back():
    import torch

    norm = torch.nn.BatchNorm1d(5)
    model = keras.Sequential([keras.Input((5,)), keras.layers.TorchModuleWrapper(norm), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.03), "mse")
    model.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    quickly(model)
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())


def quickly(model, x=X, y=Y, **options):
    return find_learning_rate(model, x, y, **({"steps": 12, "batch_size": 16} | options))


@pytest.mark.parametrize(
    "optimizer",
    [keras.optimizers.Adam(0.03), keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.03))],
    ids=["Adam", "loss scaling"],
)
def test_everything_is_restored_bit_by_bit(optimizer):
    model = trained(optimizer=optimizer)
    before = bits(model)
    assert any("seed" in path for path, _ in before)
    assert any("moving_variance" in path for path, _ in before)
    sweep = quickly(model)
    assert len(sweep.rates) > 2
    assert bits(model) == before


def test_an_optimizer_that_had_no_slots_yet_has_new_ones():
    model = compiled()
    assert not model.optimizer.built
    quickly(model)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.03)
    assert not any(np.any(keras.ops.convert_to_numpy(slot)) for slot in model.optimizer.momentums)
    assert int(model.optimizer.iterations) == 0


def test_training_goes_on_as_if_there_had_been_no_sweep(model):
    twin = compiled()
    twin.optimizer.build(twin.trainable_variables)
    for kind in (lambda model: model.variables, lambda model: model.optimizer.variables):  # seed generators too
        for one, other in zip(kind(twin), kind(model), strict=True):
            one.assign(np.array(keras.ops.convert_to_numpy(other)))
    quickly(model, shuffle=False)
    losses = [one.fit(X, Y, batch_size=16, shuffle=False, verbose=0).history["loss"] for one in (model, twin)]
    assert losses[0] == losses[1]


class Breaks(keras.utils.PyDataset):
    """Raises in its fourth batch."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error
        self.given = 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.given += 1
        if self.error is not None and self.given == 8:
            raise self.error
        return X[16 * index : 16 * index + 16], Y[16 * index : 16 * index + 16]


class Interrupting(LearningRateFinder):
    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if len(self._losses) == 5:
            raise KeyboardInterrupt


def test_everything_is_restored_after_an_error_in_the_data(model):
    before = bits(model)
    with pytest.raises(Exception, match="the disk is gone"):
        find_learning_rate(model, Breaks(RuntimeError("the disk is gone")), steps=12)
    assert bits(model) == before
    model.fit(X, Y, batch_size=16, verbose=0)  # and it still trains


def test_everything_is_restored_after_an_interrupt(model, monkeypatch):
    monkeypatch.setattr("davidnet_callbacks.learning_rate_finder.LearningRateFinder", Interrupting)
    before = bits(model)
    with pytest.raises(KeyboardInterrupt):
        quickly(model)
    assert bits(model) == before


def test_as_a_callback_it_can_be_restored_after_an_interrupt(model):
    finder = Interrupting(steps=12)
    before = bits(model)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=16, epochs=3, verbose=0, callbacks=[finder])
    assert bits(model) != before
    finder.restore()
    assert bits(model) == before


def test_as_a_callback_it_ends_fit_and_restores(model):
    finder = LearningRateFinder(steps=10, lowest=1e-4, highest=1e-2, divergence=99)
    before = bits(model)
    history = model.fit(X, Y, batch_size=16, epochs=9, verbose=0, callbacks=[finder])
    assert len(history.epoch) == 3
    assert bits(model) == before
    np.testing.assert_allclose(finder.result.rates, np.geomspace(1e-4, 1e-2, 10))


def test_the_losses_are_those_of_single_batches_at_their_rates():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(9.0), "mse")
    x, y = np.ones((8, 1), "float32"), np.zeros((8, 1), "float32")
    sweep = quickly(model, x, y, batch_size=2, lowest=0.0, highest=0.2, scale="linear", smoothing=0.5)
    weight, average = 1.0, 0.0
    for k, (rate, loss, smooth) in enumerate(zip(sweep.rates, sweep.losses, sweep.smoothed_losses, strict=True)):
        assert rate == pytest.approx(0.2 * k / 11)
        assert loss == pytest.approx(weight**2, rel=1e-5)
        average = 0.5 * average + 0.5 * loss
        assert smooth == pytest.approx(average / (1 - 0.5 ** (k + 1)), rel=1e-6)
        weight -= rate * 2 * weight


@pytest.mark.parametrize("highest", [1e3, 1e20])
def test_it_stops_when_the_loss_diverges_and_keeps_finite_numbers(model, highest):
    sweep = quickly(model, steps=40, highest=highest)
    assert 2 < len(sweep.rates) < 40
    assert len(sweep.rates) == len(sweep.losses) == len(sweep.smoothed_losses)
    assert np.isfinite(sweep.losses).all()


def as_tf_data():
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)


def as_data_loader():
    torch = pytest.importorskip("torch")
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=16
    )


@pytest.mark.parametrize("data", [as_tf_data, as_data_loader, Breaks], ids=["tf.data", "DataLoader", "PyDataset"])
def test_all_kinds_of_data_give_the_losses_that_arrays_give(model, data):
    before = bits(model)
    x = data()
    options = {"steps": 12, "lowest": 1e-5, "highest": 1e-2, "shuffle": False, "divergence": 99}
    sweep = find_learning_rate(model, x, **options)
    assert bits(model) == before
    expected = find_learning_rate(model, X, Y, batch_size=16, **options)
    np.testing.assert_allclose(sweep.losses, expected.losses, rtol=1e-5)


def test_a_model_that_is_not_built_is_built_first():
    model = compiled(build=False)
    sweep = quickly(model)
    assert model.built
    assert len(sweep.rates) > 2
    assert int(model.optimizer.iterations) == 0
    assert not np.any(model.layers[1].moving_mean)


def test_as_a_callback_it_needs_a_model_that_is_built():
    if BACKEND != "tensorflow":
        pytest.skip("fit builds the model before training begins on this backend")
    with pytest.raises(ValueError, match="use find_learning_rate"):
        compiled(build=False).fit(X, Y, epochs=9, verbose=0, callbacks=[LearningRateFinder(steps=10)])


def test_several_steps_an_execution_are_one_point_each():
    if BACKEND == "torch":
        pytest.skip("Keras refuses steps_per_execution with torch")
    model = trained(steps_per_execution=2)
    before = bits(model)
    sweep = quickly(model, lowest=1e-5, highest=1e-2, divergence=99)
    assert len(sweep.rates) == 12
    assert bits(model) == before


def per_epoch(epoch, rate):
    return 0.01


@pytest.mark.parametrize("first", [False, True], ids=["finder first", "scheduler first"])
@pytest.mark.parametrize(
    "scheduler",
    [
        lambda: OneCycleTriangle(0.4),
        lambda: BatchLearningRateScheduler(lambda progress: 0.03 * (1 + progress)),  # starts at the optimizer's rate
        lambda: keras.callbacks.LearningRateScheduler(per_epoch),
    ],
    ids=["one cycle", "same start", "keras"],
)
def test_it_refuses_to_run_with_a_scheduler(model, scheduler, first):
    finder = LearningRateFinder(steps=10)
    before = bits(model)
    callbacks = [scheduler(), finder] if first else [finder, scheduler()]
    with pytest.raises(ValueError, match="run the finder without any scheduler"):
        model.fit(X, Y, batch_size=16, epochs=9, verbose=0, callbacks=callbacks)
    assert bits(model) == before


@pytest.mark.parametrize("name", ["callbacks", "epochs", "validation_data"])
def test_what_a_sweep_has_no_use_for_is_refused(name):
    with pytest.raises(ValueError, match=f"Received: {name}="):
        quickly(compiled(), **{name: 3})


def test_an_optimizer_whose_rate_cannot_be_set_is_refused():
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with pytest.raises(ValueError, match="Received: optimizer=SGD"):
        quickly(compiled(keras.optimizers.SGD(decay)))


def test_a_fit_that_is_too_short_is_refused_before_the_first_step(model):
    before = bits(model)
    with pytest.raises(ValueError, match=r"run it for 25 epochs, .* Received: steps=100"):
        model.fit(X, Y, batch_size=16, epochs=24, verbose=0, callbacks=[LearningRateFinder()])
    assert bits(model) == before


def test_a_loss_that_is_no_number_from_the_start_is_an_error(model):
    before = bits(model)
    with pytest.raises(ValueError, match="Received: loss=nan"):
        quickly(model, X, np.full_like(Y, np.nan))
    assert bits(model) == before


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_that_runs_out_is_an_error(model):
    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    before = bits(model)
    with pytest.raises(ValueError, match=r"after 1 batches.* Received: steps=10"):
        model.fit(X, Y, epochs=9, verbose=0, callbacks=[LearningRateFinder(steps=10), Stops()])
    assert bits(model) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lowest", 0.0),
        ("lowest", -1.0),
        ("highest", 1e-8),
        ("highest", np.inf),
        ("steps", 9),
        ("steps", 12.5),
        ("scale", "log"),
        ("smoothing", 1.0),
        ("divergence", 1.0),
        ("divergence", np.nan),
    ],
)
def test_bad_arguments_are_refused(name, value):
    with pytest.raises(ValueError, match=f"Received: .*{name}="):
        LearningRateFinder(**{name: value})
