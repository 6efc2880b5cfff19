"""Batch normalisation: TensorFlow's fused kernel where it serves, the same arithmetic in keras.ops elsewhere."""

from keras import ops

from davidnet_keras.kernels.backend import tf
from davidnet_keras.kernels.one_loop import one_loop

_FUSED_TYPES = ("float16", "bfloat16", "float32")


def batch_norm(x, gamma, beta, epsilon, mask=None):
    """Normalise a batch by its own statistics.

    Shapes: x (batch, ..., channels), gamma and beta (channels,), mask (batch, ...), False where values do not count in
    the statistics. gamma and beta are float32, or float64 for x in float64.

    Returns:
        The batch, in the type of x; its mean and its unbiased variance (n / (n - 1)), both (channels,).
    """
    x, gamma, beta = (tf.convert_to_tensor(value) for value in (x, gamma, beta))
    if mask is None and x.shape.rank == 4 and x.dtype.name in _FUSED_TYPES:
        none = tf.constant([], tf.float32)
        statistics = {"mean": none, "variance": none, "epsilon": epsilon, "is_training": True}
        return tf.raw_ops.FusedBatchNormV3(x=x, scale=gamma, offset=beta, **statistics)[:3]

    axes = list(range(len(x.shape) - 1))

    def total(values):
        return ops.sum(values if mask is None else ops.where(mask[..., None], values, 0), axes)

    wide = ops.cast(x, gamma.dtype)
    count = ops.cast(ops.size(x) // x.shape[-1], gamma.dtype) if mask is None else total(ops.ones_like(wide))
    mean = total(wide) / ops.maximum(count, 1)
    squares = total(ops.square(wide - mean))
    y = _affine(x, *_scale_and_shift(gamma, beta, mean, squares / ops.maximum(count, 1), epsilon))
    return y, mean, squares / ops.maximum(count - 1, 1)


def normalize(x, gamma, beta, mean, variance, epsilon, activation=None):
    """Normalise a batch by given statistics and apply the activation to it, in one loop."""
    # Not the fused kernel: TensorFlow's graph optimiser joins that one, outside training, with a convolution before
    # and an activation after it, and where the activation is tanh the joint kernel does not exist on CPU.
    scale, shift = _scale_and_shift(*map(tf.convert_to_tensor, (gamma, beta, mean, variance)), epsilon)
    return one_loop(_affine, x, scale, shift, activation=activation)


def _scale_and_shift(gamma, beta, mean, variance, epsilon):
    scale = gamma * ops.rsqrt(variance + epsilon)
    return scale, beta - mean * scale


def _affine(x, scale, shift, activation=None):
    """scale * x + shift, computed in the type of the scale and returned in that of x, and the activation of it."""
    y = ops.cast(ops.cast(x, scale.dtype) * scale + shift, x.dtype)
    return activation(y) if activation else y
