"""Dropout masks as a hash of each input's index: nothing random is written to memory or kept for the gradient."""

import functools

from davidnet_keras.kernels import one_loop
from davidnet_keras.kernels.backend import tf
from davidnet_keras.kernels.random import draw_bits, random_bits

_STEPS = 2**32  # a decision compares 32 random bits with the rate


def dropout(x, state, rate):
    """x with each element set to zero with probability `rate`, in (0, 1), and else scaled by 1 / (1 - rate).

    The mask is fixed by `state`, int64 (2,), and under `tf.distribute` by the replica.
    """
    context = tf.distribute.get_replica_context()
    replicas = context is not None and context.num_replicas_in_sync > 1
    seed = tf.convert_to_tensor(state)
    if replicas:
        seed = tf.random.experimental.stateless_fold_in(seed, context.replica_id_in_sync_group)
    return drop(tf.convert_to_tensor(x), draw_bits(seed, [2]), rate, compiled=not replicas)


def drop(x, key, rate, compiled=True):
    """`dropout` of a tensor by the mask of a key, (2,) uint32; compiled or not, it gives the same bits."""
    if compiled:
        one_pass = one_loop.compiled(masked, tf.TensorSpec(x.shape, x.dtype), tf.TensorSpec([2], tf.uint32), rate=rate)
    else:
        # TensorFlow makes an int32 range on the host and copies it to the GPU.
        one_pass = functools.partial(one_loop.widened, masked, rate=rate, index_type=tf.int64)
    with_gradient = tf.custom_gradient(lambda x: (one_pass(x, key), lambda dy: one_pass(dy, key)))
    return with_gradient(x)


def masked(x, key, rate, index_type=tf.int32):
    """The mask of this key and rate, applied to x, whose elements are counted in the type `index_type`."""
    index = tf.cast(tf.reshape(tf.range(tf.size(x, index_type)), tf.shape(x)), tf.uint32)
    keep = random_bits(index, key) >= tf.constant(min(round(rate * _STEPS), _STEPS - 1), tf.uint32)
    # x comes widened: in bfloat16 a factor of 1 / 0.95 would be 0.2 % too large.
    # where() rather than a product with a cast mask: no infinities times zero.
    return tf.where(keep, x * tf.constant(1 / (1 - rate), x.dtype), tf.zeros([], x.dtype))
