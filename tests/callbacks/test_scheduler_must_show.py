"""The same rates on every backend, and after an interruption."""

import contextlib
import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from recording_optimizer import RecordingSGD

import davidnet_callbacks
from davidnet_callbacks import BatchLearningRateScheduler, OneCycleCosine, OneCycleTriangle

X = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
Y = X[:, :1]


def thousand_rates():
    """The rates of 1,000 updates of a small seeded model, float32 (1000,)."""
    keras.utils.set_random_seed(4)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(RecordingSGD(updates=1000), "mse")
    model.fit(X, Y, batch_size=1, epochs=50, verbose=0, callbacks=[OneCycleCosine(0.1)])
    return model.optimizer.rates(1000)


PROGRAM = """
import sys
import numpy as np
from test_scheduler_must_show import thousand_rates
np.save(sys.argv[1], thousand_rates())
"""


@pytest.mark.slow
def test_a_thousand_rates_are_the_same_on_another_backend(tmp_path):
    other = "tensorflow" if keras.backend.backend() == "jax" else "jax"
    if importlib.util.find_spec(other) is None:
        pytest.skip(f"{other} is not installed")
    folder = os.path.dirname(os.path.dirname(davidnet_callbacks.__file__))
    paths = os.pathsep.join(
        [os.path.dirname(__file__), f"{os.path.dirname(__file__)}/../support", folder, os.environ.get("PYTHONPATH", "")]
    )
    environment = os.environ | {"KERAS_BACKEND": other, "PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "rates.npy")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rates = thousand_rates()
    np.testing.assert_allclose(np.load(tmp_path / "rates.npy"), rates, atol=1e-7, rtol=0)
    assert len(np.unique(rates)) > 900
    assert rates.max() == pytest.approx(0.1)


class Interrupted(Exception):
    pass


class Watch(keras.callbacks.Callback):
    """Records the rate of each batch by epoch and batch; interrupts at one of them."""

    def __init__(self, interrupt_at=None):
        super().__init__()
        self.interrupt_at = interrupt_at
        self.rates = {}

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self.rates[self.epoch, batch] = rate
        if (self.epoch, batch) == self.interrupt_at:
            raise Interrupted


def watched(scheduler, folder=None, interrupt_at=None):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(9.0, momentum=0.9), "mse")
    watch = Watch(interrupt_at)
    backup = [keras.callbacks.BackupAndRestore(folder)] if folder else []
    with contextlib.suppress(Interrupted):
        model.fit(X, Y, batch_size=4, epochs=6, verbose=0, callbacks=[*backup, scheduler, watch])
    return watch.rates


@pytest.mark.parametrize(
    "scheduler",
    [
        pytest.param(lambda: OneCycleTriangle(0.1), id="triangle"),
        pytest.param(lambda: OneCycleCosine(0.1), id="cosine", marks=pytest.mark.slow),
        pytest.param(
            lambda: BatchLearningRateScheduler(lambda x: 0.1 / (1 + x)), id="function", marks=pytest.mark.slow
        ),
    ],
)
def test_a_run_interrupted_in_epoch_3_of_6_and_resumed_has_the_rates_of_the_whole_run(scheduler, tmp_path):
    whole = watched(scheduler())
    before = watched(scheduler(), tmp_path / "backup", interrupt_at=(2, 3))
    after = watched(scheduler(), tmp_path / "backup")
    assert (min(after), max(before)) == ((2, 0), (2, 3))  # it really was resumed, at the epoch's beginning
    assert before | after == whole
    assert len(whole) == 30
