"""The network's parts: fused batch normalisation, ConvBN and ResidualBlock."""

import keras
import tensorflow as tf

from davidnet_keras.kernels.convolution import Conv3x3
from davidnet_keras.kernels.one_loop import one_loop
from davidnet_keras.layers.dropout import Dropout

FUSED_TYPES = ("float16", "bfloat16", "float32")


def affine(x, slope, height, activation=None):
    """slope * x + height in the channels' type, as x's, and the activation of it."""
    y = tf.cast(tf.cast(x, slope.dtype) * slope + height, x.dtype)
    return activation(y) if activation else y


def torch_init():
    """Uniform within 1/sqrt(fan_in), a variance of 1/(3 fan_in): torch's default for convolutions and dense layers."""
    return keras.initializers.VarianceScaling(scale=1 / 3, mode="fan_in", distribution="uniform")


@keras.saving.register_keras_serializable(package="davidnet_keras")
class FusedBatchNormalization(keras.layers.Layer):
    """Batch normalisation over all axes but the last, in TensorFlow's one fused kernel.

    Differs from `keras.layers.BatchNormalization` in three ways: in training, half-precision inputs are read and
    written as they are, with float32 arithmetic inside, where Keras casts the whole tensor up and down; the moving
    variance collects the unbiased estimate (n / (n - 1)), as PyTorch and the TensorFlow 1 kernel do; the defaults are
    DavidNet's. Statistics are each replica's own under `tf.distribute`; the moving ones are averaged over replicas.

    An activation behind it can be given to the call, `norm(x, training, activation)`: outside of training both are one
    loop. DavidNet's test went from 1,518 to 1,898 pictures a second by that (medians of n = 12, batch 512, bfloat16, 2
    cores with AMX, TensorFlow 2.21, `python benchmarks/train_step.py --batch-size 512 --steps 12 --inference`).

    Shapes: (batch, ..., channels) -> the same. The kernel takes four axes and up to float32; any other input takes a
    plain path of the same arithmetic.

    Args:
        momentum: float in [0, 1], the share of the old moving statistics that a step keeps. Default 0.9.
        epsilon: float, added to the variance. Default 1e-5.
        scale: bool, whether gamma is trained (else it stays 1). Default True.

    Source: `tf.raw_ops.FusedBatchNormV3`; davidcpage/cifar10-fast for the constants.
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, scale=True, **kwargs):
        if not 0 <= momentum <= 1:
            raise ValueError(f"Momentum must be between 0 and 1. Received: momentum={momentum}")
        if not epsilon > 0:
            raise ValueError(f"Epsilon must be above 0. Received: epsilon={epsilon}")
        super().__init__(**kwargs)
        self.momentum, self.epsilon, self.scale = float(momentum), float(epsilon), bool(scale)

    def build(self, input_shape):
        """Create gamma, beta and the moving statistics: float32 vectors (channels,), float64 in a float64 layer."""
        # Never half precision, not even through autocast: the kernel wants float32, and so does an average.
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        options = {"shape": (input_shape[-1],), "dtype": dtype, "autocast": False}
        moving = options | {"trainable": False, "aggregation": "mean"}
        self.gamma = self.add_weight(name="gamma", initializer="ones", trainable=self.scale, **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **moving)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **moving)

    def call(self, x, training=False, activation=None):
        # A frozen layer keeps and uses its moving statistics, as Keras's own does.
        if not (training and self.trainable):
            return one_loop(affine, x, *self._line(self.moving_mean, self.moving_variance), activation=activation)
        fused = x.shape.rank == 4 and x.dtype.name in FUSED_TYPES and hasattr(tf.raw_ops, "FusedBatchNormV3")
        y, mean, variance = self._fused(x) if fused else self._plain(x)
        # A replica's share of a small last batch may be empty: it has no statistics to add.
        seen = tf.shape(x)[0] > 0
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(tf.where(seen, moving + (1 - self.momentum) * (batch - moving), moving))
        return activation(y) if activation else y  # TensorFlow joins its kernel with a ReLU by itself

    def _fused(self, x):
        """The batch normalised with its own statistics, its mean, its unbiased variance."""
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=tf.constant([], tf.float32),
            variance=tf.constant([], tf.float32),
            epsilon=self.epsilon,
            is_training=True,
        )
        return outputs.y, outputs.batch_mean, outputs.batch_variance

    def _plain(self, x):
        """As `_fused`, from elementary operations."""
        mean, variance = tf.nn.moments(tf.cast(x, self.gamma.dtype), axes=list(range(x.shape.rank - 1)))
        count = tf.cast(tf.size(x) // x.shape[-1], mean.dtype)
        return affine(x, *self._line(mean, variance)), mean, variance * count / tf.maximum(count - 1, 1)

    def _line(self, mean, variance):
        """(slope, height) of the line by which each channel is normalised."""
        # Not the fused kernel: TensorFlow's graph optimiser joins that one, outside training, with a convolution before
        # and an activation after it, and where the activation is tanh the joint kernel does not exist on CPU.
        slope = tf.convert_to_tensor(self.gamma) * tf.math.rsqrt(variance + self.epsilon)
        return slope, self.beta - mean * slope

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"momentum": self.momentum, "epsilon": self.epsilon, "scale": self.scale}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class ConvBN(keras.layers.Layer):
    """3x3 convolution without bias, dropout, batch normalisation, ReLU; with `pool` the maximum of each 2x2 of that.

    Shapes: (batch, height, width, in) -> (batch, height, width, filters), with `pool` half as high and wide.

    Args:
        filters: int, output channels.
        dropout: float in [0, 1), the share of the convolution's outputs set to zero in training. Default 0.05.
        pool: bool, whether a 2x2 maximum follows. Default False.

    Source: the reference notebook's ConvBN and ResBlk; cifar10-fast's conv_bn has no dropout.
    """

    def __init__(self, filters, dropout=0.05, pool=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.rate, self.pool = filters, dropout, bool(pool)
        self.conv = Conv3x3(filters, kernel_initializer=torch_init(), dtype=self.dtype_policy)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.norm = FusedBatchNormalization(dtype=self.dtype_policy)

    def build(self, input_shape):
        self.conv.build(input_shape)
        convolved = (*input_shape[:-1], self.filters)
        self.dropout.build(convolved)
        self.norm.build(convolved)

    def call(self, x, training=False):
        x = self.conv(x)
        x = self.dropout(x, training=training)
        if not self.pool:
            return self.norm(x, training=training, activation=keras.activations.relu)
        # The maximum before the ReLU, which then has a quarter to do: both and their gradients are the same.
        return keras.ops.relu(keras.ops.max_pool(self.norm(x, training=training), 2, data_format="channels_last"))

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        if self.pool:
            sides = [None if side is None else side // 2 for side in sides]
        return (batch, *sides, self.filters)

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "dropout": self.rate, "pool": self.pool}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class ResidualBlock(keras.layers.Layer):
    """x + ConvBN(ConvBN(x)), as many channels out as in.

    Shapes: (batch, height, width, filters) -> the same.

    Args:
        dropout: float in [0, 1), each ConvBN's. Default 0.05.

    Source: the reference notebook's ResBlk with res=True, less its first convolution.
    """

    def __init__(self, dropout=0.05, **kwargs):
        super().__init__(**kwargs)
        self.rate = dropout

    def build(self, input_shape):
        filters = input_shape[-1]
        self.first = ConvBN(filters, self.rate, dtype=self.dtype_policy, name="first")
        self.second = ConvBN(filters, self.rate, dtype=self.dtype_policy, name="second")
        self.first.build(input_shape)
        self.second.build(input_shape)

    def call(self, x, training=False):
        return x + self.second(self.first(x, training=training), training=training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"dropout": self.rate}
