"""DavidNet's blocks, part by part."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from batches import by_hand, pictures

from davidnet_keras import ConvBN, FusedBatchNormalization, ResidualBlock


def test_conv_bn_is_convolution_dropout_norm_relu():
    x = pictures((4, 6, 6, 3))
    layer = ConvBN(5, dropout=0.0)
    layer.build(x.shape)
    convolved = tf.nn.conv2d(x, layer.conv.kernel.value, 1, "SAME").numpy()
    expected = np.maximum(by_hand(convolved)[0], 0)
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-3, atol=1e-4)


def test_a_pool_in_conv_bn_gives_what_one_behind_it_would_and_the_same_gradient():
    x = pictures((4, 6, 7, 3))
    layer, pooled = ConvBN(5, dropout=0.0), ConvBN(5, dropout=0.0, pool=True)
    for each in (layer, pooled):
        each.build(x.shape)
    pooled.set_weights(layer.get_weights())
    assert pooled.compute_output_shape(x.shape) == (4, 3, 3, 5)
    assert pooled.compute_output_shape((None, None, 7, 3)) == (None, None, 3, 5)

    def outcome(function, weights):
        with tf.GradientTape() as tape:
            y = function(x)
            loss = tf.reduce_sum(y * tf.reshape(tf.range(tf.size(y), dtype=y.dtype), y.shape))
        return [y, *tape.gradient(loss, [weight.value for weight in weights])]

    behind = outcome(lambda x: tf.nn.max_pool2d(layer(x, training=True), 2, 2, "VALID"), layer.trainable_weights)
    within = outcome(lambda x: pooled(x, training=True), pooled.trainable_weights)
    for found, true in zip(within, behind, strict=True):
        np.testing.assert_allclose(found, true, rtol=0, atol=1e-5 * np.abs(true).max())


def test_residual_block_adds_two_conv_bns():
    x = pictures((4, 6, 6, 5))
    block = ResidualBlock(dropout=0.0)
    block.build(x.shape)
    expected = x + block.second(block.first(x, training=True), training=True)
    np.testing.assert_allclose(block(x, training=True), expected, rtol=1e-5)
    assert len(block.trainable_weights) == 6


@pytest.mark.parametrize("make", [lambda: ConvBN(4, dropout=1.0), lambda: ResidualBlock(dropout=-0.1)])
def test_a_dropout_that_cannot_be_is_refused_at_once(make):
    with pytest.raises(ValueError, match=r"at least 0 and below 1.* Received: "):
        make()


@pytest.mark.parametrize(
    "layer",
    [
        FusedBatchNormalization(momentum=0.8, epsilon=1e-3, scale=False),
        ConvBN(7, dropout=0.2, pool=True),
        ResidualBlock(dropout=0.3),
    ],
)
def test_layers_come_back_from_their_config(layer):
    copied = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(copied) is type(layer)
    assert copied.get_config() == layer.get_config()
