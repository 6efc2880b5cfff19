"""The momentum is scheduled where it can be, and never silently not."""

import keras
import numpy as np
import pytest
from recording_optimizer import RecordingSGD

from davidnet_callbacks import BatchMomentumScheduler, PiecewiseLinear, one_cycle_momentum

X = np.ones((8, 1), "float32")
SCHEDULE = PiecewiseLinear((0, 1, 3), (0.95, 0.85, 0.9))
EXPECTED = [SCHEDULE(epoch + batch / 4) for epoch in range(3) for batch in range(4)]


def fitted(optimizer, schedule=SCHEDULE, **options):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    options = {"batch_size": 2, "epochs": 3, "verbose": 0} | options
    return model.fit(X, X, callbacks=[BatchMomentumScheduler(schedule)], **options)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "loss scaling"])
def test_every_update_has_its_momentum(scaled):
    optimizer = RecordingSGD(0.01)
    history = fitted(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    np.testing.assert_allclose(optimizer.momenta(12), EXPECTED, rtol=1e-6)
    np.testing.assert_allclose(history.history["momentum"], [0.85, 0.875, 0.9])


def test_a_resumed_run_has_the_momenta_of_the_whole_run():
    optimizer = RecordingSGD(0.01)
    fitted(optimizer, initial_epoch=1)
    np.testing.assert_allclose(optimizer.momenta(8), EXPECTED[4:], rtol=1e-6)


def test_this_project_s_optimizer_follows():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("davidnet_keras trains on TensorFlow")
    from davidnet_keras import MomentumSGD

    optimizer = MomentumSGD(0.01)
    fitted(optimizer)
    assert float(optimizer.momentum) == pytest.approx(EXPECTED[-1])


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        lambda: keras.optimizers.Adam(0.1),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)),
    ],
    ids=["SGD", "Adam", "scaled SGD"],
)
def test_an_optimizer_that_could_not_follow_is_refused(optimizer):
    with pytest.raises(ValueError, match=r"cannot be scheduled.* Received: optimizer=(SGD|Adam), momentum="):
        fitted(optimizer())


@pytest.mark.parametrize("momentum", [1.0, -0.1, np.nan, None, "high"])
def test_a_momentum_that_is_none_is_refused(momentum):
    with pytest.raises(ValueError, match="Received: momentum="):
        fitted(RecordingSGD(0.01), lambda progress: momentum)


@pytest.mark.parametrize("schedule", [0.9, lambda: 0.9])
def test_a_schedule_that_is_no_function_of_progress_is_refused(schedule):
    with pytest.raises(ValueError, match="Received: schedule="):
        BatchMomentumScheduler(schedule)


def test_the_one_cycle_s_momentum_is_low_in_the_middle():
    schedule = one_cycle_momentum(10, 0.8, 0.9, pct_start=0.4)
    assert [schedule(epoch) for epoch in (0, 4, 10)] == pytest.approx([0.9, 0.8, 0.9])
