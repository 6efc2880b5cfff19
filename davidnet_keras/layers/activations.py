"""Activations by name: Keras's, and one that stands in for GELU without an error function."""

import keras
import tensorflow as tf

from davidnet_keras.kernels.one_loop import one_loop

SLOPE = 0.375
BEND = 0.5 / SLOPE  # 4/3, where the pieces meet


@keras.saving.register_keras_serializable(package="davidnet_keras")
def hard_gelu(x):
    """x * clip(0.375 x + 0.5, 0, 1): GELU's shape in three pieces, zero below -4/3, x above 4/3, -1/6 at the lowest.

    GELU's own lowest value is -0.17. Where the error function costs tens of instructions an element, this costs four,
    in one loop forward and one for the gradient: with a loop for each of TensorFlow's operations the fast recipe's
    train step made 232 pictures a second, with these 262 (medians of n = 6 in one slow hour, 2 cores with AVX-512,
    float32, TensorFlow 2.21, `python benchmarks/train_step.py --recipe fast --batch-size 2000`).

    Shapes: any -> the same. In a functional model it makes a layer of itself.

    Source: the idea is hard swish's (Howard et al., "Searching for MobileNetV3", arXiv:1905.02244), fitted to GELU.
    """
    if keras.backend.is_keras_tensor(x):
        return keras.layers.Activation(hard_gelu, dtype=x.dtype)(x)
    return with_gradient(tf.convert_to_tensor(x))


@tf.custom_gradient
def with_gradient(x):
    return one_loop(forward, x), lambda dy: one_loop(backward, x, dy)


def forward(x):
    return x * tf.clip_by_value(SLOPE * x + 0.5, 0, 1)


def backward(x, dy):
    """The gradient of x from that of the output."""
    return tf.where(x < -BEND, tf.zeros_like(dy), tf.where(x > BEND, dy, dy * (2 * SLOPE * x + 0.5)))


def activation_function(name):
    """The activation of that name: "hard_gelu", or any that `keras.activations.get` knows.

    Raises:
        ValueError: there is none of that name.
    """
    return hard_gelu if name == "hard_gelu" else keras.activations.get(name)
