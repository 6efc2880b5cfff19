"""Random draws as pure functions of a seed: the same bits on every device, eagerly, in `tf.data` and compiled."""

from davidnet_keras.kernels.backend import tf


def fold_seed(seed, number):
    """Make a new seed, (2,) int64, from `seed` and a whole number: a different one for every number."""
    seed, number = tf.cast(seed, tf.int64), tf.cast(number, tf.int64)
    return tf.random.experimental.stateless_fold_in(seed, number, alg="philox")


def draw_bits(seed, shape, dtype="uint32"):
    """Draw integers of which every bit is random: "uint32" or "int64" of the given shape, from two integers."""
    seed = tf.cast(seed, tf.int64)
    # The algorithm is named because the default one depends on the device.
    return tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=dtype, alg="philox")


def draw_offsets(seed, shape, count):
    """Draw int32 numbers from 0 to `count` - 1, an integer or a tensor: equally likely, to `count` / 2**32."""
    return tf.cast(draw_bits(seed, shape) % tf.cast(count, tf.uint32), tf.int32)


def draw_mask(seed, shape, rate):
    """Draw bools that are true with probability `rate`."""
    # Integers are compared, 24 bits of them, so that the outcome is the same on every device.
    return tf.bitwise.right_shift(draw_bits(seed, shape), tf.constant(8, tf.uint32)) < round(rate * 2**24)


def coin_of_each(index, seed):
    """Toss one fair coin, bool (B,), for each index, (B,) or (), which falls alike whatever the other indices are."""
    # A hash of each index instead of a draw for the whole training set, of which a batch would need only a few.
    bits = random_bits(tf.cast(tf.reshape(index, [-1]), tf.uint32), draw_bits(seed, [2]))
    return bits >= tf.constant(2**31, tf.uint32)


def random_bits(place, key):
    """32 random bits for every place (...), from a hash between the halves of a key (2,), all uint32.

    Source: the hash is Chris Wellons's lowbias32 ("Prospecting for Hash Functions"), a bijection in which every input
    bit changes every output bit with probability one half.
    """
    bits = place ^ key[0]
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits ^= tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32))
        bits *= tf.constant(factor, tf.uint32)
    return (bits ^ tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32))) + key[1]
