"""The networks' blocks: DavidNet's ConvBN and ResidualBlock, FastNet's ConvPoolBlock; the convolution inside them."""

import math
from typing import Any

import keras
from keras import ops

from davidnet_keras.errors import whole_number
from davidnet_keras.kernels.convolution import convolve
from davidnet_keras.layers.activations import activation_function
from davidnet_keras.layers.batch_normalization import FusedBatchNormalization
from davidnet_keras.layers.dropout import Dropout
from davidnet_keras.layers.initializers import PartialIdentity, torch_init

_FIXED = dict(kernel_size=3, strides=1, padding="same", data_format="channels_last", dilation_rate=1, groups=1)


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Conv3x3(keras.layers.Conv2D):
    """`keras.layers.Conv2D` of 3x3 kernels, stride 1, zero padding and channels last, no bias by default.

    While its `inputs_gradient_needed`, a `gradient_switch` or None, is off, the inputs may get a gradient of zeros.
    """

    def __init__(self, filters: int, *, use_bias: bool = False, **kwargs: Any):
        for name, value in _FIXED.items():
            given = kwargs.get(name)
            if given not in (None, value, (value, value), [value, value]):  # configs hold pairs
                raise ValueError(f"The {name} of a Conv3x3 is {value}; leave it out. Received: {name}={given!r}")
        super().__init__(filters, use_bias=use_bias, **kwargs | _FIXED)
        self.inputs_gradient_needed = None

    def convolution_op(self, inputs, kernel):
        return convolve(inputs, kernel, self.inputs_gradient_needed)

    def multiply_accumulates(self, input_shape: tuple) -> int:
        """The products that `training_flops` counts: every output sums over nine pixels."""
        return math.prod(input_shape) * 9 * self.filters


@keras.saving.register_keras_serializable(package="davidnet_keras")
class ConvBN(keras.layers.Layer):
    """3x3 convolution without bias, dropout, batch normalisation, ReLU; with `pool` a 2x2 maximum at the end.

    `dropout`, in [0, 1), is the share of the convolution's outputs that are set to zero in training.

    Shapes: (batch, height, width, in) -> (batch, height, width, filters), with `pool` half as high and wide.

    Source: the reference notebook's ConvBN and ResBlk; cifar10-fast's conv_bn has no dropout.
    """

    def __init__(self, filters: int, dropout: float = 0.05, pool: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.rate, self.pool = whole_number("filters", filters, 1), float(dropout), bool(pool)
        self.conv = Conv3x3(self.filters, kernel_initializer=torch_init(), dtype=self.dtype_policy)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.norm = FusedBatchNormalization(dtype=self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        self.conv.build(input_shape)
        for layer in (self.dropout, self.norm):
            layer.build((*input_shape[:-1], self.filters))

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.dropout(self.conv(x), training=training)
        if not self.pool:
            return self.norm(x, training=training, activation=keras.activations.relu)
        # The maximum before the ReLU, which then has a quarter to do: values and gradients are the same.
        return ops.relu(ops.max_pool(self.norm(x, training=training), 2, data_format="channels_last"))

    def multiply_accumulates(self, input_shape: tuple) -> int:
        return self.conv.multiply_accumulates(input_shape)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*(_halved(input_shape) if self.pool else input_shape)[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"filters": self.filters, "dropout": self.rate, "pool": self.pool}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class ResidualBlock(keras.layers.Layer):
    """x + ConvBN(ConvBN(x)), with as many channels out as in.

    Source: the reference notebook's ResBlk with res=True, less its first convolution.
    """

    def __init__(self, dropout: float = 0.05, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= dropout < 1:
            raise ValueError(f"The dropout rate must be at least 0 and below 1. Received: dropout={dropout}")
        self.rate = float(dropout)

    def build(self, input_shape: tuple) -> None:
        self.first = ConvBN(input_shape[-1], self.rate, dtype=self.dtype_policy, name="first")
        self.second = ConvBN(input_shape[-1], self.rate, dtype=self.dtype_policy, name="second")
        self.first.build(input_shape)
        self.second.build(input_shape)

    def call(self, x: Any, training: bool = False) -> Any:
        return ops.add(x, self.second(self.first(x, training=training), training=training))

    def multiply_accumulates(self, input_shape: tuple) -> int:
        return self.first.multiply_accumulates(input_shape) + self.second.multiply_accumulates(input_shape)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dropout": self.rate}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class ConvPoolBlock(keras.layers.Layer):
    """3x3 convolution, 2x2 maximum, norm, activation; 3x3 convolution, norm, activation.

    The convolutions have no bias; the batch norms have one, and no trained scale.

    Shapes: (batch, height, width, in) -> (batch, height // 2, width // 2, filters).

    Args:
        activation: "hard_gelu" or one of Keras's names.
        momentum: the share of the old moving statistics that a step keeps.
        kernel_initializer: of both convolutions. Default: `PartialIdentity()`, which copies the first channels.

    Source: KellerJordan/cifar10-airbench, `ConvGroup`; arXiv:2404.00498.
    """

    def __init__(
        self,
        filters: int,
        activation: str = "gelu",
        momentum: float = 0.6,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters, self.momentum, self.activation = whole_number("filters", filters, 1), float(momentum), activation
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.activate = activation_function(activation)
        self.first, self.first_norm = self._convolution("first"), self._norm("first_norm")
        self.second, self.second_norm = self._convolution("second"), self._norm("second_norm")

    def _convolution(self, name):
        # A copy, as one initialiser without a seed draws the same numbers each time.
        initializer = self.kernel_initializer.clone() if self.kernel_initializer else PartialIdentity()
        return Conv3x3(self.filters, kernel_initializer=initializer, dtype=self.dtype_policy, name=name)

    def _norm(self, name):
        # An epsilon this small allows no channel that is constant over the batch; in practice there is none.
        return FusedBatchNormalization(self.momentum, 1e-12, scale=False, dtype=self.dtype_policy, name=name)

    def build(self, input_shape: tuple) -> None:
        self.first.build(input_shape)
        for layer in (self.first_norm, self.second, self.second_norm):
            layer.build(self.compute_output_shape(input_shape))

    def call(self, x: Any, training: bool = False) -> Any:
        x = ops.max_pool(self.first(x), 2, data_format="channels_last")
        x = self.first_norm(x, training=training, activation=self.activate)
        return self.second_norm(self.second(x), training=training, activation=self.activate)

    def multiply_accumulates(self, input_shape: tuple) -> int:
        pooled = self.compute_output_shape(input_shape)
        return self.first.multiply_accumulates(input_shape) + self.second.multiply_accumulates(pooled)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*_halved(input_shape)[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        initializer = keras.initializers.serialize(self.kernel_initializer)
        numbers = {"filters": self.filters, "momentum": self.momentum}
        return super().get_config() | numbers | {"activation": self.activation, "kernel_initializer": initializer}


def _halved(shape):
    """The shape (batch, height, width, channels) after 2x2 pooling; unknown sides are None."""
    return (shape[0], *(None if side is None else side // 2 for side in shape[1:3]), shape[3])
