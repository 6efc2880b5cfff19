"""DavidNet's blocks: ConvBN and ResidualBlock."""

import keras
from keras import ops

from davidnet_keras.errors import whole_number
from davidnet_keras.layers.batch_normalization import FusedBatchNormalization
from davidnet_keras.layers.convolution import Conv3x3, halved
from davidnet_keras.layers.dropout import Dropout
from davidnet_keras.layers.initializers import torch_init


@keras.saving.register_keras_serializable(package="davidnet_keras")
class ConvBN(keras.layers.Layer):
    """3x3 convolution without bias, dropout, batch normalisation, ReLU; with `pool` the 2x2 maximum of that.

    Shapes: (batch, height, width, in) -> (batch, height, width, filters), with `pool` half as high and wide.

    Args:
        filters: int, output channels.
        dropout: float in [0, 1), the share of the convolution's outputs set to zero in training. Default 0.05.
        pool: bool, whether a 2x2 maximum follows. Default False.

    Source: the reference notebook's ConvBN and ResBlk; cifar10-fast's conv_bn has no dropout.
    """

    def __init__(self, filters: int, dropout: float = 0.05, pool: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.rate, self.pool = whole_number("filters", filters, 1), float(dropout), bool(pool)
        self.conv = Conv3x3(self.filters, kernel_initializer=torch_init(), dtype=self.dtype_policy)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.norm = FusedBatchNormalization(dtype=self.dtype_policy)

    def build(self, input_shape):
        self.conv.build(input_shape)
        convolved = (*input_shape[:-1], self.filters)
        self.dropout.build(convolved)
        self.norm.build(convolved)

    def call(self, x, training=False):
        x = self.dropout(self.conv(x), training=training)
        if not self.pool:
            return self.norm(x, training=training, activation=keras.activations.relu)
        # The maximum before the ReLU, which then has a quarter to do: values and gradients are the same.
        return ops.relu(ops.max_pool(self.norm(x, training=training), 2, data_format="channels_last"))

    def multiply_accumulates(self, input_shape):
        """The products that `training_flops` counts."""
        return self.conv.multiply_accumulates(input_shape)

    def compute_output_shape(self, input_shape):
        return (*(halved(input_shape) if self.pool else input_shape)[:-1], self.filters)

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "dropout": self.rate, "pool": self.pool}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class ResidualBlock(keras.layers.Layer):
    """x + ConvBN(ConvBN(x)), with as many channels out as in.

    Shapes: (batch, height, width, filters) -> the same.

    Args:
        dropout: float in [0, 1), each ConvBN's. Default 0.05.

    Source: the reference notebook's ResBlk with res=True, less its first convolution.
    """

    def __init__(self, dropout: float = 0.05, **kwargs):
        super().__init__(**kwargs)
        self.rate = float(dropout)

    def build(self, input_shape):
        filters = input_shape[-1]
        self.first = ConvBN(filters, self.rate, dtype=self.dtype_policy, name="first")
        self.second = ConvBN(filters, self.rate, dtype=self.dtype_policy, name="second")
        self.first.build(input_shape)
        self.second.build(input_shape)

    def call(self, x, training=False):
        return ops.add(x, self.second(self.first(x, training=training), training=training))

    def multiply_accumulates(self, input_shape):
        """The products that `training_flops` counts."""
        return self.first.multiply_accumulates(input_shape) + self.second.multiply_accumulates(input_shape)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"dropout": self.rate}
