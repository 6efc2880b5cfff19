"""The rate is right before every batch, however training came there."""

import keras
import numpy as np
import pytest

from davidnet_callbacks import BatchLearningRateScheduler, PiecewiseLinear

X, Y = np.ones((8, 1), "float32"), np.ones((8, 1), "float32")
SCHEDULE = PiecewiseLinear((0, 1, 3), (0.0, 0.5, 0.1))


class Rates(keras.callbacks.Callback):
    """Records the optimizer's rate at the end of every batch, and the one in the logs."""

    def __init__(self):
        super().__init__()
        self.batches, self.logged = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))

    def on_epoch_end(self, epoch, logs=None):
        self.logged.append(logs["learning_rate"])


def compiled(optimizer="sgd", **options):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **({"run_eagerly": True} | options))
    return model


def fitted_rates(scheduler, model=None, x=X, y=Y, **options):
    rates = Rates()
    (model or compiled()).fit(
        x, y, callbacks=[scheduler, rates], verbose=0, **({"batch_size": 2, "epochs": 3, "shuffle": False} | options)
    )
    return rates


def begun(scheduler, steps=4):
    """The scheduler as when fit has begun its first epoch."""
    scheduler.set_model(compiled())
    scheduler.set_params({"steps": steps})
    scheduler.on_train_begin()
    scheduler.on_epoch_begin(0)
    return scheduler


def expected(first_epoch=0, epochs=3, steps=4):
    return [SCHEDULE(epoch + batch / steps) for epoch in range(first_epoch, epochs) for batch in range(steps)]


def test_every_batch_has_its_rate():
    np.testing.assert_allclose(fitted_rates(BatchLearningRateScheduler(SCHEDULE)).batches, expected(), rtol=1e-6)


def test_the_traced_step_descends_by_each_batch_s_rate():
    model = compiled(keras.optimizers.SGD(9.0), run_eagerly=False)
    model.set_weights([np.zeros((1, 1)), np.zeros(1)])
    model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=[BatchLearningRateScheduler(SCHEDULE)])
    weight = 0.0  # = bias; the loss is (2 w - 1)^2
    for rate in expected(epochs=2):
        weight -= rate * 2 * (2 * weight - 1)
    np.testing.assert_allclose([w.item() for w in model.get_weights()], [weight, weight], rtol=1e-5)


def test_the_log_is_the_rate_at_the_epoch_s_end():
    rates = fitted_rates(BatchLearningRateScheduler(SCHEDULE))
    np.testing.assert_allclose(rates.logged, [0.5, 0.3, 0.1])


def test_a_resumed_run_has_the_rates_of_the_whole_run():
    rates = fitted_rates(BatchLearningRateScheduler(SCHEDULE), initial_epoch=1)
    np.testing.assert_allclose(rates.batches, expected(1), rtol=1e-6)


def test_a_second_fit_starts_over_and_takes_its_own_length():
    scheduler = BatchLearningRateScheduler(SCHEDULE)
    fitted_rates(scheduler)
    rates = fitted_rates(scheduler, batch_size=4, epochs=1)
    np.testing.assert_allclose(rates.batches, [SCHEDULE(0), SCHEDULE(0.5)], rtol=1e-6)


def test_a_smaller_last_batch_is_a_step_like_the_others():
    rates = fitted_rates(BatchLearningRateScheduler(SCHEDULE), batch_size=3, epochs=1)
    np.testing.assert_allclose(rates.batches, expected(epochs=1, steps=3), rtol=1e-6)


def test_the_rate_reaches_the_optimizer_inside_a_loss_scale_optimizer():
    inner = keras.optimizers.SGD(9.0)
    fitted_rates(BatchLearningRateScheduler(SCHEDULE), compiled(keras.optimizers.LossScaleOptimizer(inner)), epochs=1)
    assert float(inner.learning_rate) == pytest.approx(SCHEDULE(0.75))


def generator():
    while True:
        yield X[:2], Y[:2]


def test_steps_per_epoch_given_to_fit_is_enough_for_a_generator():
    rates = fitted_rates(
        BatchLearningRateScheduler(SCHEDULE), x=generator(), y=None, batch_size=None, steps_per_epoch=4
    )
    np.testing.assert_allclose(rates.batches, expected(), rtol=1e-6)


def batches_of_unknown_number():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(2).filter(lambda x, y: True)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras's own, at the end of every unknown length
def test_data_of_unknown_length_needs_the_steps():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the data set of unknown length is a tf.data one")
    with pytest.raises(ValueError, match=r"pass steps_per_epoch to fit or to BatchLearningRateScheduler\. Received:"):
        fitted_rates(BatchLearningRateScheduler(SCHEDULE), x=batches_of_unknown_number(), y=None, batch_size=None)
    scheduler = BatchLearningRateScheduler(SCHEDULE, steps_per_epoch=4)
    rates = fitted_rates(scheduler, x=batches_of_unknown_number(), y=None, batch_size=None)
    np.testing.assert_allclose(rates.batches, expected(), rtol=1e-6)


def test_steps_that_contradict_fit_are_refused():
    with pytest.raises(ValueError, match=r"fit runs 4 batches .* Received: steps_per_epoch=5"):
        begun(BatchLearningRateScheduler(SCHEDULE, steps_per_epoch=5))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_more_batches_than_promised_do_not_run_into_the_next_epoch():
    scheduler = BatchLearningRateScheduler(SCHEDULE, steps_per_epoch=2)
    six_batches = ((X[:2], Y[:2]) for _ in range(6))
    rates = fitted_rates(scheduler, compiled(run_eagerly=False), six_batches, None, batch_size=None, epochs=1).batches
    np.testing.assert_allclose(rates, [SCHEDULE(progress) for progress in (0, 0.5, 1, 1, 1, 1)], rtol=1e-6)


def multi_optimizer():
    by_name = getattr(keras.optimizers, "MultiOptimizer", None)
    if by_name is None:
        pytest.skip("this Keras has no MultiOptimizer")
    return by_name(lambda variable: keras.optimizers.SGD())


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)),
        lambda: keras.optimizers.SGD(lambda: 0.1),
        lambda: keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))
        ),
        multi_optimizer,
    ],
    ids=["schedule", "function", "scaled schedule", "multi"],
)
def test_an_optimizer_whose_rate_cannot_be_set_is_refused_before_the_first_step(optimizer):
    model = compiled(optimizer())
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"cannot be set.* Received: optimizer="):
        fitted_rates(BatchLearningRateScheduler(SCHEDULE), model)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


@pytest.mark.parametrize("rate", [None, "fast", np.nan, np.inf, -0.1, np.ones(2)])
def test_a_rate_that_is_no_rate_is_refused(rate):
    with pytest.raises(ValueError, match="Received: learning_rate="):
        begun(BatchLearningRateScheduler(lambda progress: rate))


def test_an_error_in_the_schedule_itself_comes_through():
    def schedule(progress):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        begun(BatchLearningRateScheduler(schedule))


def test_a_model_whose_optimizer_takes_no_step_is_warned_of():
    """As a GAN's is, whose train_step uses two of its own."""

    class OwnStep(keras.Model):
        def train_step(self, *state_and_data):
            return {"loss": 0.0} if len(state_and_data) == 1 else ({"loss": 0.0}, state_and_data[0])

    inputs = keras.Input((1,))
    model = OwnStep(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="took no step in this epoch") as seen:
        fitted_rates(BatchLearningRateScheduler(SCHEDULE), model)
    assert sum("took no step" in str(warning.message) for warning in seen) == 1  # not every epoch


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch has no train function that is compiled")
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
@pytest.mark.parametrize("first", [True, False])
def test_a_train_function_made_anew_is_scheduled_too(hook, first):
    class Remake(keras.callbacks.Callback):
        pass

    remake, rates, model = Remake(), Rates(), compiled(run_eagerly=False)
    setattr(remake, hook, lambda *_, **__: model.make_train_function(force=True))
    scheduler = BatchLearningRateScheduler(SCHEDULE)
    callbacks = [remake, scheduler, rates] if first else [scheduler, remake, rates]
    model.fit(X, Y, batch_size=2, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    np.testing.assert_allclose(rates.batches, expected(), rtol=1e-6)


def test_a_schedule_that_does_not_reach_the_end_fails_before_the_first_step():
    rates, model = [0.1, 0.01, 0.001], compiled()
    before = model.get_weights()
    with pytest.raises(IndexError):
        fitted_rates(BatchLearningRateScheduler(lambda progress: rates[int(progress)]), model)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    short = fitted_rates(BatchLearningRateScheduler(lambda progress: rates[min(int(progress), 2)]), model)
    np.testing.assert_allclose(short.batches, np.repeat(rates, 4), rtol=1e-6)


@pytest.mark.parametrize(
    "schedule", [0.1, None, lambda epoch, lr: lr, lambda: 0.1, keras.optimizers.schedules.CosineDecay(0.1, 10)]
)
def test_a_schedule_that_is_no_function_of_progress_is_refused(schedule):
    with pytest.raises(ValueError, match="Received: schedule="):
        BatchLearningRateScheduler(schedule)


@pytest.mark.parametrize("steps", [0, -1, 2.5, "4"])
def test_steps_that_are_no_positive_integer_are_refused(steps):
    with pytest.raises(ValueError, match="Received: steps_per_epoch="):
        BatchLearningRateScheduler(SCHEDULE, steps_per_epoch=steps)


def test_verbose_prints_the_rate_of_each_epoch(capsys):
    begun(BatchLearningRateScheduler(SCHEDULE, verbose=1)).on_epoch_begin(1)
    assert "Epoch 2: BatchLearningRateScheduler starts with the learning rate 0.5." in capsys.readouterr().out


def test_it_is_a_keras_learning_rate_scheduler():
    assert isinstance(BatchLearningRateScheduler(SCHEDULE), keras.callbacks.LearningRateScheduler)
