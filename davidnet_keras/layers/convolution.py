"""3x3 convolution by the fastest kernel for its shape."""

import math

import keras

from davidnet_keras.kernels.convolution import convolve


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Conv3x3(keras.layers.Conv2D):
    """`keras.layers.Conv2D` of 3x3 kernels, stride 1, zero padding and channels last, no bias by default.

    Shapes: (batch, height, width, in) -> (batch, height, width, filters).

    Args:
        filters: int, output channels.
        **kwargs: as `keras.layers.Conv2D`, `kernel_initializer` for example.

    Attributes:
        inputs_gradient_needed: a switch made by `kernels.convolution.gradient_switch`, or None. While it is off, the
            inputs' gradient may be zeros. Default None: always on.
    """

    def __init__(self, filters: int, use_bias: bool = False, **kwargs):
        fixed = {"kernel_size": 3, "strides": 1, "padding": "same", "data_format": "channels_last"}
        super().__init__(filters, use_bias=use_bias, **kwargs | fixed)
        self.inputs_gradient_needed = None

    def convolution_op(self, inputs, kernel):
        return convolve(inputs, kernel, self.inputs_gradient_needed)

    def multiply_accumulates(self, input_shape):
        """The products that `training_flops` counts: every output sums over nine pixels."""
        return math.prod(input_shape) * 9 * self.filters


def halved(shape):
    """The shape (batch, height, width, channels) after 2x2 pooling; unknown sides are None."""
    batch, height, width, channels = shape
    return (batch, *(None if side is None else side // 2 for side in (height, width)), channels)
