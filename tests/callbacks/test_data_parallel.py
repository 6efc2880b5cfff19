"""A scheduler works where Keras spreads a batch over several devices."""

import importlib.util
import os
import subprocess
import sys

import pytest

PROGRAM = """
import keras
import numpy as np
from davidnet_callbacks import OneCycleTriangle

x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
weights = []
for distribution in (None, keras.distribution.DataParallel()):
    keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[OneCycleTriangle(0.5)])
    weights.append(model.get_weights()[0])
np.testing.assert_allclose(*weights, rtol=1e-5, atol=1e-6)
assert len(keras.distribution.list_devices()) == 2
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="keras.distribution needs JAX")
def test_two_devices_have_the_rates_of_one():
    flags = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
