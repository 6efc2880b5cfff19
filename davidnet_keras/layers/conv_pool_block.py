"""The block that FastNet is made of."""

import keras

from davidnet_keras.kernels.convolution import Conv3x3
from davidnet_keras.layers.activations import activation_function
from davidnet_keras.layers.conv_bn import FusedBatchNormalization
from davidnet_keras.layers.initializers import PartialIdentity


@keras.saving.register_keras_serializable(package="davidnet_keras")
class ConvPoolBlock(keras.layers.Layer):
    """Convolution, 2x2 maximum, norm, activation; convolution, norm, activation.

    The convolutions are 3x3 without bias; the batch norms have a bias and no trained scale.

    Shapes: (batch, height, width, in) -> (batch, height // 2, width // 2, filters).

    Args:
        filters: int, output channels of both convolutions.
        activation: name, as `activation_function` takes it. Default "gelu".
        momentum: float, the share of the old moving statistics that a step keeps. Default 0.6.
        kernel_initializer: of both convolutions. Default: `PartialIdentity()`, which copies the first channels.

    Source: KellerJordan/cifar10-airbench, `ConvGroup`; arXiv:2404.00498.
    """

    def __init__(self, filters, activation="gelu", momentum=0.6, kernel_initializer=None, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.activation, self.momentum = filters, activation, momentum
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.activate = activation_function(activation)
        dtype = self.dtype_policy
        self.first = self._convolution("first")
        self.pool = keras.layers.MaxPooling2D(2, data_format="channels_last", dtype=dtype, name="pool")
        self.first_norm = self._norm("first_norm")
        self.second = self._convolution("second")
        self.second_norm = self._norm("second_norm")

    def _convolution(self, name):
        # A copy: one object without a seed draws the same numbers each time.
        initializer = self.kernel_initializer.clone() if self.kernel_initializer else PartialIdentity()
        return Conv3x3(self.filters, kernel_initializer=initializer, dtype=self.dtype_policy, name=name)

    def _norm(self, name):
        # With an epsilon this small a channel that is constant over the batch must not come up: none does, in practice.
        options = {"epsilon": 1e-12, "scale": False, "dtype": self.dtype_policy, "name": name}
        return FusedBatchNormalization(self.momentum, **options)

    def build(self, input_shape):
        self.first.build(input_shape)
        output_shape = self.compute_output_shape(input_shape)
        self.first_norm.build(output_shape)
        self.second.build(output_shape)
        self.second_norm.build(output_shape)

    def call(self, x, training=False):
        x = self.pool(self.first(x))
        x = self.first_norm(x, training=training, activation=self.activate)
        return self.second_norm(self.second(x), training=training, activation=self.activate)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, *(None if side is None else side // 2 for side in (height, width)), self.filters)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "activation": self.activation,
            "momentum": self.momentum,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
