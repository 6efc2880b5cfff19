"""Dropout whose masks are cheap to draw and continue after a reload."""

import random
from typing import Any

import keras
import numpy as np

from davidnet_keras.kernels.dropout import dropout


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Dropout(keras.layers.Layer):
    """Sets each input to zero with probability `rate` in training and scales the others by 1 / (1 - rate).

    Unlike `keras.layers.Dropout`, whose seed generators are not saved, a saved model continues with the masks that it
    would have drawn: they come from (seed, number of draws so far), a weight. A decision is a hash of the input's
    index, so that no random numbers are written to memory. Under `tf.distribute` each replica draws its own masks.

    Args:
        rate: in [0, 1).
        seed: of the masks. Default: one from Python's `random` (which `keras.utils.set_random_seed` seeds).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        if not 0 <= rate < 1:
            raise ValueError(f"The dropout rate must be at least 0 and below 1. Received: rate={rate}")
        super().__init__(**kwargs)
        self.supports_masking = True
        self.rate = float(rate)
        self.seed = random.randrange(2**31) if seed is None else int(seed)

    def build(self, input_shape: tuple) -> None:
        # The seed too, so that a model whose layers were made without one reloads its masks. Not int32: TensorFlow
        # keeps variables of that type on the host, and a step compiled for a GPU refuses them.
        options = {"dtype": "int64", "trainable": False, "aggregation": "only_first_replica", "name": "state"}
        self.state = self.add_weight((2,), keras.initializers.Constant(np.array([self.seed, 0], np.int64)), **options)

    def call(self, x: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return x
        dropped = dropout(x, self.state, self.rate)
        self.state.assign_add([0, 1])
        return dropped

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rate": self.rate, "seed": self.seed}
