"""Crop, flip and cutout of a batch of pictures as pure functions of given offsets.

Each keeps the pictures' dtype and is made of operations that XLA compiles, so eager code, `tf.data` and compiled models
give the same pixels.
"""

import numpy as np

from davidnet_keras.kernels.backend import tf


def crop(images, dy, dx, padding):
    """Cut a window of the original size out of each picture padded by reflection.

    The edge pixel itself is not repeated, as in `numpy.pad(mode="reflect")`.

    Shapes:
        images (B, H, W, C), dy and dx (B,) -> (B, H, W, C).

    Args:
        images: Pictures of any dtype.
        dy, dx: Row and column of the padded picture where the window starts, int32, 0 to 2 * padding.
        padding: Pixels added on each side, fewer than height and width.
    """
    batch, height, width, channels = tf.unstack(tf.shape(images))
    rows = _reflect(dy[:, None] + tf.range(height) - padding, height)  # (B, H)
    columns = _reflect(dx[:, None] + tf.range(width) - padding, width)  # (B, W)
    rows += tf.range(batch)[:, None] * height
    pixels = rows[:, :, None] * width + columns[:, None, :]  # (B, H, W)
    # One lookup of whole pixels: XLA turns it into a single loop, several times faster than a lookup per axis.
    return tf.ensure_shape(tf.gather(tf.reshape(images, (-1, channels)), pixels), images.shape)


def flip(images, mask):
    """Mirror the pictures (B, H, W, C) left to right where `mask`, bool (B,), is true."""
    return tf.where(mask[:, None, None, None], tf.reverse(images, [2]), images)


def cutout(images, top, left, size, fill=0.0):
    """Paint over one square of each picture.

    Shapes:
        images (B, H, W, C), top and left (B,), fill () or (C,) -> (B, H, W, C).

    Args:
        images: Pictures of any dtype.
        top, left: First row and column of the square, int32.
        size: Side of the square in pixels.
        fill: Value painted, for all channels or for each. Rounded to a whole number for integer pictures.

    Raises:
        ValueError: If the dtype of `images` cannot hold `fill`.
    """
    rows = _inside(tf.range(tf.shape(images)[1]), top, size)  # (B, H)
    columns = _inside(tf.range(tf.shape(images)[2]), left, size)  # (B, W)
    square = rows[:, :, None] & columns[:, None, :]  # (B, H, W)
    return tf.where(square[..., None], _paint(fill, images.dtype), images)


def _reflect(index, size):
    return (size - 1) - tf.abs((size - 1) - tf.abs(index))


def _inside(index, start, size):
    # As unsigned numbers, those before the start are large: one comparison a pixel instead of two.
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
