"""FastNet's block."""

import keras

from davidnet_keras.errors import whole_number
from davidnet_keras.layers.activations import activation_function
from davidnet_keras.layers.batch_normalization import FusedBatchNormalization
from davidnet_keras.layers.convolution import Conv3x3, halved
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

    def __init__(
        self, filters: int, activation: str = "gelu", momentum: float = 0.6, kernel_initializer=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.filters, self.momentum = whole_number("filters", filters, 1), float(momentum)
        self.activation = activation
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.activate = activation_function(activation)
        dtype = self.dtype_policy
        self.first = self._convolution("first")
        self.pool = keras.layers.MaxPooling2D(2, data_format="channels_last", dtype=dtype, name="pool")
        self.first_norm = self._norm("first_norm")
        self.second = self._convolution("second")
        self.second_norm = self._norm("second_norm")

    def _convolution(self, name):
        # A copy, as one initialiser without a seed draws the same numbers each time.
        initializer = self.kernel_initializer.clone() if self.kernel_initializer else PartialIdentity()
        return Conv3x3(self.filters, kernel_initializer=initializer, dtype=self.dtype_policy, name=name)

    def _norm(self, name):
        # An epsilon this small allows no channel that is constant over the batch; in practice there is none.
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

    def multiply_accumulates(self, input_shape):
        """The products that `training_flops` counts."""
        pooled = self.compute_output_shape(input_shape)
        return self.first.multiply_accumulates(input_shape) + self.second.multiply_accumulates(pooled)

    def compute_output_shape(self, input_shape):
        return (*halved(input_shape)[:-1], self.filters)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "activation": self.activation,
            "momentum": self.momentum,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
