"""Elementwise arithmetic as one loop over the memory, by XLA."""

import functools

from davidnet_keras.kernels import devices
from davidnet_keras.kernels.backend import tf

HALVES = (tf.bfloat16, tf.float16)


def one_loop(function, *tensors, **settings):
    """`function(*tensors, **settings)`, compiled on a CPU; uncompiled on a GPU and where the rank is unknown.

    TensorFlow runs one operation after the other, each reading and writing all of its tensors: with little arithmetic
    per element, that is what takes the time. Half-precision tensors are computed with in float32 and the result is
    rounded once, where XLA would round after every operation: see docs/results/kernels.

    Args:
        function: takes tensors and returns one; a function of a module, as the compiled code is cached by it.
        *tensors: its arguments, or arrays. XLA compiles anew for each batch size.
        **settings: its other arguments, all hashable.
    """
    tensors = [tf.convert_to_tensor(x) for x in tensors]
    if devices.visible_gpus() or any(x.shape.rank is None for x in tensors):
        return widened(function, *tensors, **settings)
    specs = (tf.TensorSpec(_any_batch(x.shape), x.dtype) for x in tensors)
    return compiled(function, *specs, **settings)(*tensors)


def _any_batch(shape):
    """The shape with its first size left open, but for vectors: one function per layer is then cached."""
    return (None, *shape[1:]) if shape.rank > 1 else tuple(shape)


@functools.cache
def compiled(function, *specs, **settings):
    """`widened` of the function and these settings, for tensors of these `tf.TensorSpec`, as one XLA loop.

    It is cached, as otherwise every call outside a graph would compile it anew.
    """
    return tf.function(functools.partial(widened, function, **settings), specs, autograph=False, jit_compile=True)


def widened(function, *tensors, **settings):
    """`function(*tensors, **settings)`, in float32 in place of a half precision, which the result then has."""
    halves = [x.dtype for x in tensors if x.dtype in HALVES]
    result = function(*(tf.cast(x, tf.float32) if x.dtype in HALVES else x for x in tensors), **settings)
    return tf.cast(result, halves[0]) if halves else result
