"""Normalisation: exact statistics, float32 arithmetic under any policy, saved with the model."""

import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras.layers.normalization import Normalization


def pictures(count=50, dtype="uint8"):
    spread = np.random.default_rng(2).integers(0, [256, 100, 31], (count, 7, 5, 3))
    return (spread + np.array([0, 50, 200])).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "int32"])
def test_adapt_sets_the_sets_own_mean_and_standard_deviation(dtype):
    images = pictures(2500, dtype)
    layer = Normalization()
    layer.adapt(images)
    exact = images.astype("float64")
    np.testing.assert_array_equal(layer.mean.numpy(), exact.mean((0, 1, 2)).astype("float32"))
    np.testing.assert_array_equal(layer.std.numpy(), exact.std((0, 1, 2)).astype("float32"))


def test_adapt_keeps_the_digits_of_a_large_mean():
    images = np.random.default_rng(3).normal(1e6, 0.5, (40, 8, 8, 1))
    layer = Normalization()
    layer.adapt(images)
    np.testing.assert_allclose(layer.std.numpy(), images.std((0, 1, 2)), rtol=1e-6)


def test_adapt_makes_no_float_copy_of_the_set():
    images = np.zeros((20_000, 16, 16, 3), "uint8")
    layer = Normalization()
    layer.build((None, 16, 16, 3))
    tracemalloc.start()
    layer.adapt(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes / 4


def test_before_adapt_only_the_dtype_changes():
    out = Normalization()(pictures())
    assert out.dtype == "float32"
    np.testing.assert_array_equal(out, pictures())


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_it_subtracts_in_float32_and_casts_last(policy, dtype):
    images = pictures(dtype=dtype) if dtype == "uint8" else (pictures() / np.float32(255)).astype("float32")
    mean, std = np.float32([0.3, 0.4, 0.9]), np.float32([0.25, 0.26, 0.1])
    layer = Normalization(mean, std, dtype=policy)
    out = layer(images)
    compute_dtype = policy.removeprefix("mixed_")
    assert out.dtype == compute_dtype and layer.mean.dtype == layer.std.dtype == "float32"
    wide = "float64" if policy == "float64" else "float32"
    expected = tf.cast((images.astype(wide) - mean.astype(wide)) / std.astype(wide), compute_dtype)
    np.testing.assert_array_equal(tf.cast(out, wide), tf.cast(expected, wide))


def test_one_number_serves_all_channels():
    out = Normalization(100, std=10.0)(pictures())
    np.testing.assert_allclose(out, (pictures() - np.float32(100)) / 10, rtol=1e-6)


def test_a_channel_that_never_varies_is_only_centred():
    images = pictures()
    images[..., 1] = 9
    layer = Normalization()
    layer.adapt(images)
    assert layer.std.numpy()[1] == 1
    np.testing.assert_array_equal(layer(images)[..., 1], 0)


@pytest.mark.parametrize("input_dtype", ["uint8", "float32"])
def test_a_saved_model_predicts_on_raw_bytes(tmp_path, input_dtype):
    inputs = keras.Input((7, 5, 3), dtype=input_dtype)
    layer = Normalization(mean=[1, 2, 3], std=[4, 5, 6], dtype="mixed_bfloat16")
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(dtype="float32")(layer(inputs)))
    layer.adapt(pictures())
    assert not layer.trainable_weights and not model.trainable_weights
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        restored.predict(pictures(), verbose=0, batch_size=16), model.predict(pictures(), verbose=0, batch_size=16)
    )
    np.testing.assert_array_equal(restored.layers[1].mean.numpy(), layer.mean.numpy())
    assert restored.layers[1].get_config() == layer.get_config()


def test_the_config_carries_what_adapt_found():
    layer = Normalization()
    layer.adapt(pictures())
    clone = Normalization.from_config(layer.get_config())
    np.testing.assert_array_equal(clone(pictures()), layer(pictures()))
    assert Normalization().get_config()["mean"] is None


def test_compiled_with_xla_and_in_tf_data_it_normalises_alike():
    layer = Normalization()
    layer.adapt(pictures())
    eager = layer(pictures())
    np.testing.assert_allclose(tf.function(layer, jit_compile=True)(pictures()), eager, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(next(iter(tf.data.Dataset.from_tensors(pictures()).map(layer))), eager)


def adapt(images, **arguments):
    layer = Normalization(**arguments)
    layer.build((None, 7, 5, 3))
    layer.adapt(images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normalization(mean="grey"), r"finite number.*Received: mean='grey'"),
        (lambda: Normalization(mean=[1.0, np.inf]), r"Received: mean="),
        (lambda: Normalization(std=[1, 0, 1]), r"above 0.*Received: std=\[1, 0, 1\]"),
        (lambda: Normalization(mean=[1, 2])(pictures()), r"each of the 3 channels.*Received: mean="),
        (lambda: Normalization().build((None, 4, 4, None)), r"channels must be known"),
        (lambda: adapt(pictures()[0]), r"Received: shape=\(7, 5, 3\)"),
        (lambda: adapt(pictures()[:0]), r"one at least.*Received: shape=\(0, 7, 5, 3\)"),
        (lambda: adapt(pictures()[..., :2]), r"built for 3 channels.*Received: shape="),
        (lambda: adapt(np.full((2, 7, 5, 3), np.nan)), r"not finite.*Received: mean="),
    ],
)
def test_bad_arguments_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()
