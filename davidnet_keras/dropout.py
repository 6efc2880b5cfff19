"""Dropout whose masks are cheap to draw and go on where they were after a reload."""

import random

import keras
import tensorflow as tf

STEPS = 2**16  # a mask compares 16 random bits with the rate: two decisions per 32-bit draw


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Dropout(keras.layers.Layer):
    """Sets each input to zero with probability `rate` in training and scales the others by 1 / (1 - rate).

    Differs from `keras.layers.Dropout` in two ways. The masks are drawn from (seed, number of draws so far), both in a
    weight of the layer, so a saved model goes on with the masks that it would have drawn: Keras's seed generators are
    not saved. And a decision takes 16 random bits where Keras draws a float32. The rate is rounded to 1/65536 and the
    scale follows the rounded rate, so the expectation is exact.

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
        """Create the state: the seed and how many masks were drawn, (2,) int32."""

        def start(shape, dtype=None):
            return tf.constant([self.seed, 0], tf.int32)

        # A weight holds the seed too, so that a model whose layers were made without one reloads its masks.
        self.state = self.add_weight(
            name="state",
            shape=(2,),
            dtype="int32",
            initializer=start,
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, x, training=False):
        threshold = round(self.rate * STEPS)
        if not training or not threshold:
            return x
        seed = tf.convert_to_tensor(self.state)
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            seed = tf.random.experimental.stateless_fold_in(seed, context.replica_id_in_sync_group)
        keep = tf.reshape(random_bits16(tf.size(x, tf.int64), seed), tf.shape(x)) >= threshold
        self.state.assign_add([0, 1])
        # where() rather than a product with a cast mask: one pass, and no infinities times zero.
        return tf.where(keep, x * tf.cast(STEPS / (STEPS - threshold), x.dtype), tf.zeros([], x.dtype))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"rate": self.rate, "seed": self.seed}


def random_bits16(count, seed):
    """`count` uniform random 16-bit integers from a seed: (count,) uint16, a pure function of the seed."""
    words = tf.random.stateless_uniform(
        [(count + 1) // 2], seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )
    return tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:count]
