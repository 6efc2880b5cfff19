"""Elementwise arithmetic in one loop: any batch, unknown ranks, half precision rounded once."""

import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras.kernels import devices
from davidnet_keras.kernels.one_loop import one_loop


def twice(x, y):
    return 2 * x + y


def test_a_loop_takes_sizes_as_they_come_and_unknown_ranks():
    @tf.function(input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([2])], autograph=False)
    def known(x, y):
        return one_loop(twice, x, y)

    @tf.function(input_signature=[tf.TensorSpec(None), tf.TensorSpec([2])], autograph=False)
    def unknown(x, y):
        return one_loop(twice, x, y)

    for batch in (1, 5):
        x, y = np.ones((batch, 2), np.float32), np.float32([1, 2])
        np.testing.assert_array_equal(known(x, y), 2 * x + y)
        np.testing.assert_array_equal(unknown(x, y), 2 * x + y)


def shrunk(x, y):
    return (x + y) * 0.3 - y


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_rounded_once_in_a_loop_and_outside_of_one(monkeypatch, dtype, gpu):
    monkeypatch.setattr(devices, "visible_gpus", lambda: ["GPU"] * gpu)
    x, y = (tf.cast(np.random.default_rng(seed).normal(size=(50, 20)), dtype) for seed in (0, 1))
    found = one_loop(shrunk, x, y)
    assert found.dtype == x.dtype
    true = tf.cast(shrunk(tf.cast(x, "float32"), tf.cast(y, "float32")), dtype)
    np.testing.assert_allclose(*(np.asarray(value, "float32") for value in (found, true)), rtol=2**-8, atol=1e-6)
    rounded_often = np.asarray(shrunk(x, y), "float32")
    assert (rounded_often != np.asarray(true, "float32")).mean() > 0.3 > (found.numpy() != true.numpy()).mean()
