"""What every test shares: a quiet TensorFlow, a fixed seed, and two logical CPU devices for `tf.distribute`."""

import dataclasses
import os
import signal
import sys

import pytest

from davidnet_keras.kernels.environment import tune_tensorflow

tune_tensorflow()  # before TensorFlow is imported: what the command line uses


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal():
    """Handle signals although the tests may have been started by nohup or in the background, which ignore some."""
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def two_cpus():
    """The names of two logical CPU devices, which `pytest_configure` sets up before TensorFlow's first operation."""
    import tensorflow as tf

    return [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("CPU")]


@pytest.fixture(scope="module")
def few_pictures():
    """In place of the whole embedded data set 64 training pictures and 16 test pictures."""
    from davidnet_keras.data import shapes

    pictures = shapes.load_shapes(train=64, test=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "load_shapes", lambda: pictures)
        yield


def pytest_configure():
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture
def small_cifar(monkeypatch, tmp_path):
    """CIFAR's layouts with few images a file, and an empty Keras cache."""
    from cifar_fakes import ROWS

    from davidnet_keras.data import cifar

    for name in ("CIFAR10", "CIFAR100"):
        layout = getattr(cifar, name)
        images = (ROWS * len(layout.train), ROWS)
        monkeypatch.setattr(cifar, name, dataclasses.replace(layout, images=images))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.fixture(autouse=True)
def fresh_keras(request):
    """Each test starts from the same seed and the float32 policy."""
    if "small_cifar" in request.fixturenames:
        return  # nothing of Keras's state matters there, and clearing it takes longer than those tests
    if "keras" in sys.modules:
        import keras

        keras.config.set_dtype_policy("float32")
        keras.utils.set_random_seed(0)
