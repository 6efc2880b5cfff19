"""Dropout whose masks are cheap to draw and go on where they were after a reload."""

import functools
import random

import keras
import tensorflow as tf

from davidnet_keras.kernels import one_loop
from davidnet_keras.kernels.random import random_bits

STEPS = 2**32  # a decision compares 32 random bits with the rate


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Dropout(keras.layers.Layer):
    """Sets each input to zero with probability `rate` in training and scales the others by 1 / (1 - rate).

    Differs from `keras.layers.Dropout` in two ways. The masks are drawn from (seed, number of draws so far), both in a
    weight of the layer, so a saved model goes on with the masks that it would have drawn: Keras's seed generators are
    not saved. And a decision is a hash of the input's place, made where it is used, in one compiled loop: no random
    numbers are written to memory, and the gradient makes the mask again instead of keeping it.

    Under `tf.distribute` every replica draws masks of its own.

    Shapes: any -> the same.

    Args:
        rate: float in [0, 1).
        seed: int, or None for one from Python's `random` (which `keras.utils.set_random_seed` seeds).

    Source: Srivastava et al. 2014.
    """

    def __init__(self, rate, seed=None, **kwargs):
        if not 0 <= rate < 1:
            raise ValueError(f"The dropout rate must be at least 0 and below 1. Received: rate={rate}")
        super().__init__(**kwargs)
        self.rate = float(rate)
        self.seed = random.randrange(2**31) if seed is None else int(seed)

    def build(self, input_shape):
        """Create the state: the seed and how many masks were drawn, (2,) int64.

        Not int32: TensorFlow keeps variables of that type on the host, and a step compiled for a GPU refuses them.
        """

        def start(shape, dtype=None):
            return tf.constant([self.seed, 0], tf.int64)

        # A weight holds the seed too, so that a model whose layers were made without one reloads its masks.
        self.state = self.add_weight(
            name="state",
            shape=(2,),
            dtype="int64",
            initializer=start,
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, x, training=False):
        if not training or not self.rate:
            return x
        seed = tf.convert_to_tensor(self.state)
        context = tf.distribute.get_replica_context()
        replicas = context is not None and context.num_replicas_in_sync > 1
        if replicas:
            seed = tf.random.experimental.stateless_fold_in(seed, context.replica_id_in_sync_group)
        key = tf.random.stateless_uniform([2], seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")
        self.state.assign_add([0, 1])
        return drop(x, tf.bitcast(key, tf.uint32), self.rate, compiled=not replicas)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"rate": self.rate, "seed": self.seed}


def drop(x, key, rate, compiled=True):
    """x with each element set to zero with probability `rate` and scaled by 1 / (1 - rate) otherwise.

    Args:
        x: tensor of floats.
        key: (2,) uint32, which fixes the mask.
        rate: float in (0, 1).
        compiled: bool, whether XLA makes one loop of it; the result is the same.
    """
    if compiled:
        one_pass = one_loop.compiled(masked, tf.TensorSpec(x.shape, x.dtype), tf.TensorSpec([2], tf.uint32), rate=rate)
    else:
        # TensorFlow makes an int32 range on the host, and copies it to the GPU.
        one_pass = functools.partial(one_loop.widened, masked, rate=rate, places=tf.int64)

    @tf.custom_gradient
    def forward(x):
        return one_pass(x, key), lambda dy: one_pass(dy, key)

    return forward(x)


def masked(x, key, rate, places=tf.int32):
    """The mask of this key and rate, applied to x, whose elements are counted in the type `places`."""
    place = tf.cast(tf.reshape(tf.range(tf.size(x, places)), tf.shape(x)), tf.uint32)
    keep = random_bits(place, key) >= tf.constant(min(round(rate * STEPS), STEPS - 1), tf.uint32)
    # x comes widened: in bfloat16 a factor of 1 / 0.95 would be 0.2 % too large.
    # where() rather than a product with a cast mask: no infinities times zero.
    return tf.where(keep, x * tf.constant(1 / (1 - rate), x.dtype), tf.zeros([], x.dtype))
