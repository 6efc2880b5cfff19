"""hard_gelu and its gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras.layers.activations import activation_function, hard_gelu


def test_hard_gelu_is_near_gelu_and_has_its_ends():
    x = np.linspace(-6, 6, 1001, dtype="float32")
    y = np.asarray(hard_gelu(x))
    assert np.abs(y - np.asarray(keras.activations.gelu(x))).max() < 0.125
    np.testing.assert_array_equal(y[x < -4 / 3], 0)
    np.testing.assert_array_equal(y[x > 4 / 3], x[x > 4 / 3])
    assert y.min() == pytest.approx(-1 / 6, abs=1e-4)
    assert activation_function("hard_gelu") is hard_gelu and activation_function("relu") is keras.activations.relu


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_its_gradient_is_that_of_its_definition(dtype):
    x = np.linspace(-3, 3, 997)
    x = tf.cast(x[np.abs(np.abs(x) - 4 / 3) > 0.02], dtype)  # no place where two pieces meet, where the gradient jumps
    dy = tf.cast(np.random.default_rng(0).normal(size=x.shape), dtype)
    results = []
    for function in (hard_gelu, lambda x: x * tf.clip_by_value(x * 0.375 + 0.5, 0, 1)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        results.append((y, tape.gradient(y, x, dy)))
    assert {value.dtype for pair in results for value in pair} == {x.dtype}
    rounding = {"float64": 1e-15, "float32": 1e-6, "bfloat16": 0.03}[dtype]
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(np.float64(one), np.float64(other), rtol=rounding, atol=4 * rounding)


def test_it_makes_layers_of_functional_models_and_any_batch_passes(tmp_path):
    images = keras.Input((4, 4, 3))
    model = keras.Model(images, hard_gelu(keras.layers.Conv2D(2, 3, activation=hard_gelu)(images)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for batch in (1, 3):
        x = np.random.default_rng(batch).normal(size=(batch, 4, 4, 3)).astype("float32")
        np.testing.assert_array_equal(model(x), again(x))


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_that_layer_computes_in_the_type_that_comes(dtype):
    assert hard_gelu(keras.Input((2,), dtype=dtype)).dtype == dtype
