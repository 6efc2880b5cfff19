"""Elementwise arithmetic as one loop over the memory, by XLA; hard_gelu that way, with a gradient of its own."""

import functools

from davidnet_keras.kernels import devices
from davidnet_keras.kernels.backend import tf

HALVES = (tf.bfloat16, tf.float16)
_SCALE = 0.375
_BEND = 0.5 / _SCALE  # 4/3, where hard_gelu's pieces meet


def one_loop(function, *tensors, **settings):
    """`function(*tensors, **settings)`, compiled on a CPU; uncompiled on a GPU and where the rank is unknown.

    TensorFlow runs one operation after the other, each reading and writing all of its tensors: with little arithmetic
    per element, that is what takes the time. See docs/results/kernels.

    The function must be one of a module and the settings hashable: the compiled code is cached by them. XLA compiles
    anew for each batch size.
    """
    tensors = [tf.convert_to_tensor(x) for x in tensors]
    if devices.visible_gpus() or any(x.shape.rank is None for x in tensors):
        return widened(function, *tensors, **settings)
    # The first size is left open, but for vectors: one function per layer is then cached.
    shapes = [(None, *x.shape[1:]) if x.shape.rank > 1 else tuple(x.shape) for x in tensors]
    specs = (tf.TensorSpec(shape, x.dtype) for shape, x in zip(shapes, tensors, strict=True))
    return compiled(function, *specs, **settings)(*tensors)


@functools.cache  # otherwise every call outside a graph would compile it anew
def compiled(function, *specs, **settings):
    """`widened` of the function and these settings, for tensors of these `tf.TensorSpec`, as one XLA loop."""
    return tf.function(functools.partial(widened, function, **settings), specs, autograph=False, jit_compile=True)


def widened(function, *tensors, **settings):
    """`function(*tensors, **settings)`, with half precision computed in float32 and rounded once, at the end."""
    halves = [x.dtype for x in tensors if x.dtype in HALVES]
    result = function(*(tf.cast(x, tf.float32) if x.dtype in HALVES else x for x in tensors), **settings)
    return tf.cast(result, halves[0]) if halves else result


@tf.custom_gradient
def hard_gelu(x):
    """x * clip(0.375 x + 0.5, 0, 1) of a tensor, in one loop, and one for its gradient."""
    return one_loop(_hard_gelu, x), lambda dy: one_loop(_hard_gelu_gradient, x, dy)


def _hard_gelu(x):
    return x * tf.clip_by_value(_SCALE * x + 0.5, 0, 1)


def _hard_gelu_gradient(x, dy):
    return tf.where(x < -_BEND, tf.zeros_like(dy), tf.where(x > _BEND, dy, dy * (2 * _SCALE * x + 0.5)))
