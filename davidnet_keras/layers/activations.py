"""Activations by name: Keras's, and one that stands in for GELU without an error function."""

from collections.abc import Callable
from typing import Any

import keras

from davidnet_keras.kernels import one_loop


@keras.saving.register_keras_serializable(package="davidnet_keras")
def hard_gelu(x: Any) -> Any:
    """x * clip(0.375 x + 0.5, 0, 1): GELU's shape in three pieces, zero below -4/3, x above 4/3, -1/6 at the lowest.

    Shapes: any -> the same. In a functional model it becomes a layer.

    Source: the idea is hard swish's (Howard et al., "Searching for MobileNetV3", arXiv:1905.02244), fitted to GELU.
    """
    if keras.backend.is_keras_tensor(x):
        return keras.layers.Activation(hard_gelu, dtype=x.dtype)(x)
    return one_loop.hard_gelu(keras.ops.convert_to_tensor(x))


def activation_function(name: str) -> Callable[[Any], Any]:
    """The activation called "hard_gelu", or any that `keras.activations.get` knows; ValueError for another name."""
    return hard_gelu if name == "hard_gelu" else keras.activations.get(name)
