"""Crop, flip and cutout of a batch of pictures as pure functions of given offsets, and the draws behind them.

Every function takes the whole batch, keeps its dtype, and is made of operations that XLA compiles: one formula serves
eager code, `tf.data` and compiled models, so all three give the same pixels.
"""

import numpy as np
import tensorflow as tf

# Probabilities are compared with the upper 24 bits of a draw: integers come out the same on every device.
_RATE_BITS = 24


def crop(images, dy, dx, padding):
    """Cuts a window of the original size out of each picture padded by reflection.

    The edge pixel itself is not repeated, as in `numpy.pad(mode="reflect")`.

    Shapes:
        images (B, H, W, C), dy and dx (B,) -> (B, H, W, C).

    Args:
        images: Pictures of any dtype.
        dy: Row of the padded picture where the window starts, int32, 0 to 2 * padding. `padding` moves nothing.
        dx: The same for the column.
        padding: Pixels added on each side, less than height and width.

    Returns:
        The windows, in the dtype of `images`.
    """
    batch, height, width, channels = tf.unstack(tf.shape(images))
    rows = _reflect(dy[:, None] + tf.range(height) - padding, height)  # (B, H)
    columns = _reflect(dx[:, None] + tf.range(width) - padding, width)  # (B, W)
    rows += tf.range(batch)[:, None] * height
    pixels = rows[:, :, None] * width + columns[:, None, :]  # (B, H, W)
    # One lookup of whole pixels: XLA turns it into a single loop, several times faster than a lookup per axis.
    return tf.ensure_shape(tf.gather(tf.reshape(images, (-1, channels)), pixels), images.shape)


def flip(images, mask):
    """Mirrors the chosen pictures left to right.

    Shapes:
        images (B, H, W, C), mask (B,) -> (B, H, W, C).

    Args:
        images: Pictures of any dtype.
        mask: Which pictures to mirror, bool.

    Returns:
        The pictures, in the dtype of `images`.
    """
    return tf.where(mask[:, None, None, None], tf.reverse(images, [2]), images)


def cutout(images, top, left, size, fill=0.0):
    """Paints over one square of each picture.

    Shapes:
        images (B, H, W, C), top and left (B,), fill () or (C,) -> (B, H, W, C).

    Args:
        images: Pictures of any dtype.
        top: First row of the square, int32.
        left: First column of the square, int32.
        size: Side of the square in pixels.
        fill: Value painted, for all channels or for each. Rounded to a whole number for integer pictures.

    Returns:
        The pictures, in the dtype of `images`.

    Raises:
        ValueError: If the dtype of `images` cannot hold `fill`.
    """
    rows = _inside(tf.range(tf.shape(images)[1]), top, size)  # (B, H)
    columns = _inside(tf.range(tf.shape(images)[2]), left, size)  # (B, W)
    square = rows[:, :, None] & columns[:, None, :]  # (B, H, W)
    return tf.where(square[..., None], _paint(fill, images.dtype), images)


def draw_offsets(seed, shape, count):
    """Draws whole numbers from 0 to `count` - 1, all equally likely (to one part in 2**32 / `count`).

    Args:
        seed: Two integers, int32 or int64; the same two give the same numbers on every device.
        shape: Shape of the result.
        count: How many different numbers there are; a Python integer or an integer tensor.

    Returns:
        int32 tensor of shape `shape`.
    """
    return tf.cast(_draw_bits(seed, shape) % tf.cast(count, tf.uint32), tf.int32)


def draw_mask(seed, shape, rate):
    """Draws a bool tensor of shape `shape` that is true with probability `rate`. `seed` as in `draw_offsets`."""
    threshold = tf.constant(round(rate * 2**_RATE_BITS), tf.uint32)
    return tf.bitwise.right_shift(_draw_bits(seed, shape), tf.constant(32 - _RATE_BITS, tf.uint32)) < threshold


def fold_seed(seed, number):
    """Makes a new seed out of `seed` and a whole number: a different one for every number.

    Shapes:
        seed (2,), number () -> (2,), int64.
    """
    seed = tf.cast(seed, tf.int64)
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64), alg="philox")


def _draw_bits(seed, shape):
    # The algorithm is named because the default one depends on the device.
    return tf.random.stateless_uniform(
        shape, tf.cast(seed, tf.int64), minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )


def _reflect(index, size):
    return (size - 1) - tf.abs((size - 1) - tf.abs(index))


def _inside(index, start, size):
    # Without a sign, what lies before the start is a large number: one comparison a pixel instead of two.
    return tf.bitcast(index - start[:, None], tf.uint32) < tf.constant(size, tf.uint32)


def _paint(fill, dtype):
    fill = np.asarray(fill, np.float64)
    if dtype.is_integer:
        fill = np.rint(fill)
        if fill.min() < dtype.min or fill.max() > dtype.max:
            raise ValueError(
                f"Pictures of dtype {dtype.name} cannot hold the fill: give values from {dtype.min} to {dtype.max}. "
                f"Received: fill={fill.tolist()}"
            )
    return tf.constant(fill, dtype)
