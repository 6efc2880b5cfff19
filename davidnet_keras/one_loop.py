"""Elementwise arithmetic as one loop over the memory, by XLA."""

import functools

import tensorflow as tf


def one_loop(function, *tensors):
    """Computes `function(*tensors)`, compiled on a CPU; elsewhere, and where the rank is unknown, as it stands.

    TensorFlow runs one operation after the other, each reading and writing all of its tensors: where the arithmetic of
    an element is little, that is what takes the time.

    Args:
        function: takes and returns tensors; a function of a module, for what is compiled is kept with it.
        *tensors: its arguments. XLA compiles anew for each batch size that comes.
    """
    if tf.config.get_visible_devices("GPU") or any(x.shape.rank is None for x in tensors):
        return function(*tensors)
    return compiled(function, *(tf.TensorSpec(any_batch(x.shape), x.dtype) for x in tensors))(*tensors)


def any_batch(shape):
    """The shape with its first size left open, but for vectors: the functions kept are then as many as the layers."""
    return (None, *shape[1:]) if shape.rank > 1 else tuple(shape)


@functools.cache
def compiled(function, *specs, **settings):
    """The function with these settings for tensors of these `tf.TensorSpec`, as one XLA loop.

    It is kept, as every call outside a graph would compile it anew.
    """
    return tf.function(functools.partial(function, **settings), specs, autograph=False, jit_compile=True)
