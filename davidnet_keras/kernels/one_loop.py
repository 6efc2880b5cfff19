"""Elementwise arithmetic as one loop over the memory, by XLA."""

import functools

import tensorflow as tf

HALVES = (tf.bfloat16, tf.float16)


def one_loop(function, *tensors, **settings):
    """`function(*tensors, **settings)`, compiled on a CPU; elsewhere, and where the rank is unknown, as it stands.

    TensorFlow runs one operation after the other, each reading and writing all of its tensors: where the arithmetic of
    an element is little, that is what takes the time.

    Half-precision tensors are computed with in float32 and the result is rounded once. XLA would round after every
    operation: a hard_gelu of (1000, 31, 31, 24) in bfloat16 takes 14.9 ms so, and 4.8 this way, its gradient 14.0 and
    6.2 (medians of n = 7, 2 cores with AMX bfloat16, TensorFlow 2.21).

    Args:
        function: takes tensors and returns one; a function of a module, for what is compiled is kept with it.
        *tensors: its arguments. XLA compiles anew for each batch size that comes.
        **settings: its other arguments, which can be hashed.
    """
    if tf.config.get_visible_devices("GPU") or any(x.shape.rank is None for x in tensors):
        return widened(function, *tensors, **settings)
    specs = (tf.TensorSpec(any_batch(x.shape), x.dtype) for x in tensors)
    return compiled(function, *specs, **settings)(*tensors)


def any_batch(shape):
    """The shape with its first size left open, but for vectors: the functions kept are then as many as the layers."""
    return (None, *shape[1:]) if shape.rank > 1 else tuple(shape)


@functools.cache
def compiled(function, *specs, **settings):
    """`widened` of the function and these settings, for tensors of these `tf.TensorSpec`, as one XLA loop.

    It is kept, as every call outside a graph would compile it anew.
    """
    return tf.function(functools.partial(widened, function, **settings), specs, autograph=False, jit_compile=True)


def widened(function, *tensors, **settings):
    """`function(*tensors, **settings)`, in float32 in place of a half precision, which the result then has."""
    halves = [x.dtype for x in tensors if x.dtype in HALVES]
    result = function(*(tf.cast(x, tf.float32) if x.dtype in HALVES else x for x in tensors), **settings)
    return tf.cast(result, halves[0]) if halves else result
