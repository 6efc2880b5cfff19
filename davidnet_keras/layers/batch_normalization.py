"""Batch normalisation by a fused kernel, with the unbiased moving variance."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from davidnet_keras.kernels.batch_norm import batch_norm, normalize


@keras.saving.register_keras_serializable(package="davidnet_keras")
class FusedBatchNormalization(keras.layers.Layer):
    """Batch normalisation over all axes but the last, in one fused kernel.

    Differs from `keras.layers.BatchNormalization`: in training, half-precision inputs are read and written as they are,
    with float32 arithmetic inside; the moving variance collects the unbiased estimate (n / (n - 1)), as PyTorch and the
    TensorFlow 1 kernel do; the defaults are DavidNet's. Under `tf.distribute` each replica has statistics of its own.

    Inputs of another rank than four, in float64 or with a mask take a slower path of the same arithmetic.

    Args:
        momentum: in [0, 1], the share of the old moving statistics that a step keeps.
        scale: whether gamma is trained (else it stays 1).

    Call arguments:
        activation: function applied to the output, or None. Outside training both take one loop: faster.
        mask: bool (batch, ...), or None. Masked values are normalised but do not count in the statistics, as in Keras.

    Source: `tf.raw_ops.FusedBatchNormV3`; davidcpage/cifar10-fast for the constants.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, scale: bool = True, **kwargs: Any):
        if not 0 <= momentum <= 1:
            raise ValueError(f"Momentum must be between 0 and 1. Received: momentum={momentum}")
        if not epsilon > 0:
            raise ValueError(f"Epsilon must be above 0. Received: epsilon={epsilon}")
        super().__init__(**kwargs)
        self.supports_masking = True
        self.momentum, self.epsilon, self.scale = float(momentum), float(epsilon), bool(scale)

    def build(self, input_shape: tuple) -> None:
        # Never half precision, not even through autocast: the kernel wants float32, and so does an average.
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        options = {"shape": (input_shape[-1],), "dtype": dtype, "autocast": False}
        moving = options | {"trainable": False, "aggregation": "mean"}
        self.gamma = self.add_weight(name="gamma", initializer="ones", trainable=self.scale, **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **moving)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **moving)

    def call(self, x: Any, training: bool = False, activation: Callable | None = None, mask: Any = None) -> Any:
        if mask is not None and len(mask.shape) != len(x.shape) - 1:
            raise ValueError(f"A mask has the inputs' shape without the channels. Received: mask.shape={mask.shape}")
        if not keras.backend.is_float_dtype(x.dtype):
            x = ops.cast(x, self.compute_dtype)
        # A frozen layer keeps and uses its moving statistics, as Keras's own does.
        if not (training and self.trainable):
            statistics = self.moving_mean, self.moving_variance
            return normalize(x, self.gamma, self.beta, *statistics, self.epsilon, activation)
        y, mean, variance = batch_norm(x, self.gamma, self.beta, self.epsilon, mask)
        # A replica's share of a small last batch may be empty: it has no statistics to add.
        counted = ops.shape(x)[0] > 0 if mask is None else ops.any(mask)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(ops.where(counted, moving + (1 - self.momentum) * (batch - moving), moving))
        return activation(y) if activation else y  # TensorFlow joins its kernel with a ReLU by itself

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum": self.momentum, "epsilon": self.epsilon, "scale": self.scale}
