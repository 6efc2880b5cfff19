"""Dropout whose masks are cheap to draw and continue after a reload."""

import random

import keras
from keras import ops

from davidnet_keras.kernels.dropout import dropout


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Dropout(keras.layers.Layer):
    """Sets each input to zero with probability `rate` in training and scales the others by 1 / (1 - rate).

    Differs from `keras.layers.Dropout` in two ways. The masks are drawn from (seed, number of draws so far), both in a
    weight of the layer, so a saved model continues with the masks that it would have drawn: Keras's seed generators
    are not saved. And a decision is a hash of the input's place, computed where it is used: no random numbers are
    written to memory, and the gradient computes the mask again instead of keeping it.

    Under `tf.distribute` every replica draws masks of its own.

    Shapes: any -> the same.

    Args:
        rate: float in [0, 1).
        seed: int, or None for one from Python's `random` (which `keras.utils.set_random_seed` seeds).

    Source: Srivastava et al. 2014.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        if not 0 <= rate < 1:
            raise ValueError(f"The dropout rate must be at least 0 and below 1. Received: rate={rate}")
        super().__init__(**kwargs)
        self.supports_masking = True
        self.rate = float(rate)
        self.seed = random.randrange(2**31) if seed is None else int(seed)

    def build(self, input_shape):
        """Create the state: the seed and the number of masks drawn, (2,) int64.

        Not int32: TensorFlow keeps variables of that type on the host, and a step compiled for a GPU refuses them.
        """

        def start(shape, dtype=None):
            return ops.convert_to_tensor([self.seed, 0], "int64")

        # A weight holds the seed too, so that a model whose layers were made without one reloads its masks.
        options = {"shape": (2,), "dtype": "int64", "initializer": start, "trainable": False}
        self.state = self.add_weight(name="state", aggregation="only_first_replica", **options)

    def call(self, x, training=False):
        if not training or not self.rate:
            return x
        dropped = dropout(x, self.state, self.rate)
        self.state.assign_add([0, 1])
        return dropped

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"rate": self.rate, "seed": self.seed}
