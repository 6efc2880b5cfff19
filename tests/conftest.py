"""What every test shares: a quiet TensorFlow, a fixed seed, and two logical CPU devices for `tf.distribute`."""

import os
import sys

import pytest

from davidnet_keras.environment import tune_tensorflow

tune_tensorflow()  # before TensorFlow is imported: what the command line uses


@pytest.fixture(scope="session")
def two_cpus():
    """The names of two logical CPU devices, which `pytest_configure` sets up before TensorFlow's first operation."""
    import tensorflow as tf

    return [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("CPU")]


def pytest_configure():
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def fresh_keras():
    """Each test starts from the same seed and the float32 policy."""
    if "keras" in sys.modules:
        import keras

        keras.config.set_dtype_policy("float32")
        keras.utils.set_random_seed(0)
