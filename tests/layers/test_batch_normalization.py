"""Batch normalisation: its statistics, its types, its activation, its mask."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from batches import by_hand, pictures

from davidnet_keras import FusedBatchNormalization, hard_gelu
from davidnet_keras.kernels import batch_norm


@pytest.mark.parametrize("shape", [(8, 6, 6, 4), (16, 4), (5, 7, 4)])  # four axes: fused; others: the plain path
def test_batch_norm_uses_the_batch_and_collects_the_unbiased_variance(shape):
    x = pictures(shape)
    layer = FusedBatchNormalization(momentum=0.75)
    layer.build(x.shape)
    layer.gamma.assign([1.0, 2.0, 0.5, -1.0])
    layer.beta.assign([0.0, 1.0, -1.0, 2.0])
    expected, mean, variance = by_hand(x, layer.gamma.numpy(), layer.beta.numpy())
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.75 + 0.25 * variance, rtol=1e-5)


def test_batch_norm_in_inference_uses_the_moving_statistics_and_changes_nothing():
    x, layer = pictures(), FusedBatchNormalization()
    layer.build(x.shape)
    layer.moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    layer.moving_variance.assign([4.0, 1.0, 9.0, 0.25])
    before = layer.get_weights()
    expected = (x - [1.0, 2.0, 3.0, 4.0]) / np.sqrt(np.array([4.0, 1.0, 9.0, 0.25]) + 1e-5)
    np.testing.assert_allclose(layer(x, training=False), expected, rtol=1e-5, atol=1e-5)
    layer.trainable = False  # frozen: as in inference, like Keras's own
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-5, atol=1e-5)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("activation", [keras.activations.relu, hard_gelu])
@pytest.mark.parametrize(("training", "frozen"), [(True, False), (False, False), (True, True)])
def test_an_activation_given_to_batch_norm_is_that_of_its_output(activation, training, frozen):
    x = tf.constant(pictures())
    layer = FusedBatchNormalization(trainable=not frozen)
    layer.build(x.shape)
    layer.moving_mean.assign([1.0, 2.0, 0.0, -1.0])

    def outcome(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
            total = tf.reduce_sum(y * pictures(seed=1))
        return y, tape.gradient(total, x)

    ours = outcome(lambda x: layer(x, training=training, activation=activation))
    layer.moving_mean.assign([1.0, 2.0, 0.0, -1.0])  # training has moved it
    layer.moving_variance.assign(tf.ones(4))
    behind = outcome(lambda x: activation(layer(x, training=training)))
    assert (ours[0].numpy() == 0).any()
    for found, true in zip(ours, behind, strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_batch_norm_keeps_half_precision_with_float32_statistics(policy):
    x = tf.cast(pictures(), policy.removeprefix("mixed_"))
    layer = FusedBatchNormalization(dtype=policy)
    y = layer(x, training=True)
    assert y.dtype == x.dtype
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    expected, mean, variance = by_hand(tf.cast(x, tf.float32).numpy())
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=2e-2)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-3)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-3)


def test_batch_norm_does_not_cast_a_half_precision_batch_up():
    x = tf.zeros((2, 4, 4, 4), tf.bfloat16)
    layer = FusedBatchNormalization(dtype="mixed_bfloat16")
    layer.build(x.shape)
    graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(x).graph
    batches = [tensor for op in graph.get_operations() for tensor in op.outputs if tensor.shape == x.shape]
    assert {tensor.dtype for tensor in batches} == {tf.bfloat16}
    assert "FusedBatchNormV3" in {op.type for op in graph.get_operations()}


def test_the_fused_and_the_plain_path_agree_in_value_and_gradient(monkeypatch):
    x, weights = tf.constant(pictures()), pictures(seed=1)

    def value_and_gradients():
        layer = FusedBatchNormalization()
        layer.build(x.shape)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * weights)
        return [y, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value]), *layer.get_weights()]

    fused = value_and_gradients()
    monkeypatch.setattr(batch_norm, "_FUSED_TYPES", ())
    for one, other in zip(fused, value_and_gradients(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_batch_norm_before_tanh_can_predict():
    # TensorFlow's graph optimiser would join convolution, fused batch norm and tanh in a kernel that CPUs lack.
    inputs = keras.Input((8, 8, 3))
    x = FusedBatchNormalization()(keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(inputs))
    model = keras.Model(inputs, keras.layers.Activation("tanh")(x))
    assert np.isfinite(model.predict(pictures((2, 8, 8, 3)), verbose=0)).all()


def test_batch_norm_without_a_trained_scale():
    layer = FusedBatchNormalization(scale=False)
    layer.build((None, 4, 4, 3))
    assert [weight.name for weight in layer.trainable_weights] == ["beta"]


@pytest.mark.parametrize("arguments", [{"momentum": 1.5}, {"epsilon": 0}])
def test_batch_norm_refuses_what_cannot_be(arguments):
    with pytest.raises(ValueError, match="Received"):
        FusedBatchNormalization(**arguments)


@pytest.mark.parametrize("shape", [(6, 5, 4), (3, 6, 5, 4)])
def test_masked_values_do_not_count_as_in_keras(shape):
    x = pictures(shape)
    mask = np.random.default_rng(1).random(shape[:-1]) < 0.6
    x[~mask] = 1e6  # would show in any statistic
    ours, kerass = FusedBatchNormalization(0.9, 1e-5), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    y, expected = (np.asarray(layer(x, training=True, mask=mask)) for layer in (ours, kerass))
    np.testing.assert_allclose(y[mask], expected[mask], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, kerass.moving_mean, rtol=1e-4)
    unbiased = np.float64(kerass.moving_variance) - 0.9
    np.testing.assert_allclose(ours.moving_variance - 0.9, unbiased * mask.sum() / (mask.sum() - 1), rtol=1e-3)


def test_a_mask_of_ones_changes_nothing_and_one_of_zeros_leaves_the_statistics():
    x = pictures((5, 7, 4))
    plain, masked = FusedBatchNormalization(), FusedBatchNormalization()
    np.testing.assert_allclose(
        masked(x, training=True, mask=np.ones((5, 7), bool)), plain(x, training=True), rtol=1e-5, atol=1e-5
    )
    before = masked.get_weights()
    assert np.isfinite(masked(x, training=True, mask=np.zeros((5, 7), bool))).all()
    for old, new in zip(before, masked.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_mask_of_a_layer_before_it_is_used_and_passed_on():
    inputs = keras.Input((7, 4))
    outputs = FusedBatchNormalization(name="norm")(keras.layers.Masking()(inputs))
    model = keras.Model(inputs, outputs)
    assert outputs._keras_mask is not None
    x = pictures((5, 7, 4))
    x[:, 4:] = 0  # what Masking masks
    model(x, training=True)
    np.testing.assert_allclose(model.get_layer("norm").moving_mean, 0.1 * x[:, :4].mean((0, 1)), rtol=1e-4)


def test_a_mask_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r"without the channels.*Received: mask.shape="):
        FusedBatchNormalization()(pictures((5, 7, 4)), training=True, mask=np.ones(5, bool))


def test_whole_numbers_are_normalised_in_the_compute_type():
    x = np.random.default_rng(0).integers(0, 9, (64, 3))
    y = FusedBatchNormalization()(x, training=True)
    assert y.dtype == "float32"
    np.testing.assert_allclose(np.std(y, axis=0), 1, rtol=1e-3)
