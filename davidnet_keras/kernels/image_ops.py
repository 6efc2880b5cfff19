"""Crop, flip and cutout of a batch of pictures of any dtype: pure functions of given offsets, which XLA compiles."""

import numpy as np

from davidnet_keras.kernels.backend import tf


def crop(images, dy, dx, padding):
    """Cut a window of the original size out of each picture (B, H, W, C) padded as by `numpy.pad(mode="reflect")`.

    Args:
        dy, dx: row and column of the padded picture where the window starts, int32 (B,), 0 to 2 * padding.
        padding: pixels added on each side, fewer than height and width.
    """
    batch, height, width, channels = tf.unstack(tf.shape(images))
    rows, columns = (  # (B, H) and (B, W)
        (side - 1) - tf.abs((side - 1) - tf.abs(start[:, None] + tf.range(side) - padding))
        for start, side in ((dy, height), (dx, width))
    )
    rows += tf.range(batch)[:, None] * height
    pixels = rows[:, :, None] * width + columns[:, None, :]  # (B, H, W)
    # One lookup of whole pixels: XLA turns it into a single loop, several times faster than a lookup per axis.
    return tf.ensure_shape(tf.gather(tf.reshape(images, (-1, channels)), pixels), images.shape)


def flip(images, mask):
    """Mirror the pictures (B, H, W, C) left to right where `mask`, bool (B,), is true."""
    return tf.where(mask[:, None, None, None], tf.reverse(images, [2]), images)


def cutout(images, top, left, size, fill=0.0):
    """Paint over one square of each picture (B, H, W, C).

    Args:
        top, left: first row and column of the square, int32 (B,).
        size: side of the square in pixels.
        fill: value painted, for all channels or for each, which the pictures' dtype must hold; rounded for integers.
    """
    dtype, fill = images.dtype, np.asarray(fill, np.float64)
    if dtype.is_integer:
        fill = np.rint(fill)
        if fill.min() < dtype.min or fill.max() > dtype.max:
            limits = f"{dtype.name} cannot hold the fill: give values from {dtype.min} to {dtype.max}"
            raise ValueError(f"Pictures of dtype {limits}. Received: fill={fill.tolist()}")
    rows, columns = (  # (B, H) and (B, W)
        # As unsigned numbers, those before the start are large: one comparison a pixel instead of two.
        tf.bitcast(tf.range(tf.shape(images)[axis]) - start[:, None], tf.uint32) < size
        for axis, start in ((1, top), (2, left))
    )
    square = rows[:, :, None] & columns[:, None, :]  # (B, H, W)
    return tf.where(square[..., None], tf.constant(fill, dtype), images)
