"""Random draws as pure functions of a seed: the same bits on every device, eagerly, in `tf.data` and compiled."""

from davidnet_keras.kernels.backend import tf

# Probabilities are compared with the upper 24 bits of a draw: integers come out the same on every device.
_RATE_BITS = 24


def fold_seed(seed, number):
    """Make a new seed from `seed` and a whole number: a different one for every number.

    Shapes:
        seed (2,), number () -> (2,), int64.
    """
    seed, number = tf.cast(seed, tf.int64), tf.cast(number, tf.int64)
    return tf.random.experimental.stateless_fold_in(seed, number, alg="philox")


def draw_bits(seed, shape, dtype="uint32"):
    """Draw integers of which every bit is random.

    Args:
        seed: Two integers, int32 or int64; the same two give the same numbers on every device.
        shape: Shape of the result.
        dtype: "uint32" or "int64".
    """
    # The algorithm is named because the default one depends on the device.
    return tf.random.stateless_uniform(
        shape, tf.cast(seed, tf.int64), minval=None, maxval=None, dtype=dtype, alg="philox"
    )


def draw_offsets(seed, shape, count):
    """Draw int32 numbers from 0 to `count` - 1, all equally likely (to one part in 2**32 / `count`).

    `count` is a Python integer or an integer tensor; `seed` and `shape` are as in `draw_bits`.
    """
    return tf.cast(draw_bits(seed, shape) % tf.cast(count, tf.uint32), tf.int32)


def draw_mask(seed, shape, rate):
    """Draw bools that are true with probability `rate`. `seed` and `shape` are as in `draw_bits`."""
    threshold = tf.constant(round(rate * 2**_RATE_BITS), tf.uint32)
    return tf.bitwise.right_shift(draw_bits(seed, shape), tf.constant(32 - _RATE_BITS, tf.uint32)) < threshold


def coin_of_each(index, seed):
    """Toss one fair coin for each index, which falls the same way whatever the other indices are.

    Shapes:
        index (B,) or (), seed (2,) -> (B,), bool.
    """
    # A hash of each index instead of a draw for the whole training set, of which a batch would need only a few.
    bits = random_bits(tf.cast(tf.reshape(index, [-1]), tf.uint32), draw_bits(seed, [2]))
    return bits >= tf.constant(2**31, tf.uint32)


def random_bits(place, key):
    """32 random bits for every place: an avalanche hash between the halves of the key.

    Shapes:
        place (...), key (2,), both uint32 -> (...), uint32.

    Source: the hash is Chris Wellons's lowbias32 ("Prospecting for Hash Functions").
    """
    return avalanche(place ^ key[0]) + key[1]


def avalanche(bits):
    """A bijection of uint32 in which every input bit changes every output bit with probability one half."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits ^= tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32))
        bits *= tf.constant(factor, tf.uint32)
    return bits ^ tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32))
