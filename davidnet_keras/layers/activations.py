"""Activations by name: Keras's, and one that stands in for GELU without an error function."""

import keras

from davidnet_keras.kernels import activations


@keras.saving.register_keras_serializable(package="davidnet_keras")
def hard_gelu(x):
    """x * clip(0.375 x + 0.5, 0, 1): GELU's shape in three pieces, zero below -4/3, x above 4/3, -1/6 at the lowest.

    GELU's own lowest value is -0.17. The error function costs tens of instructions per element, this costs four: see
    docs/results/kernels.

    Shapes: any -> the same. In a functional model it becomes a layer.

    Source: the idea is hard swish's (Howard et al., "Searching for MobileNetV3", arXiv:1905.02244), fitted to GELU.
    """
    if keras.backend.is_keras_tensor(x):
        return keras.layers.Activation(hard_gelu, dtype=x.dtype)(x)
    return activations.hard_gelu(x)


def activation_function(name):
    """The activation called "hard_gelu", or any that `keras.activations.get` knows.

    Raises:
        ValueError: there is none of that name.
    """
    return hard_gelu if name == "hard_gelu" else keras.activations.get(name)
