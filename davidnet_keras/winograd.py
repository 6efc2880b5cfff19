"""3x3 convolution by Winograd's minimal filtering: a quarter of the multiplications for the same sums."""

import numpy as np
import tensorflow as tf

from davidnet_keras.one_loop import compiled

TILE = 4  # outputs along an axis that are made together, from TILE + 2 inputs by TILE + 2 products
# F(4, 3) with the points 0, 1, -1, 2, -2 and infinity: output = OUTPUT [(KERNEL w) * (INPUT x)] along each axis.
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
HEIGHT, WIDTH = -3, -2  # axes, counted from the end: the transformed tensors have two more in front


@tf.custom_gradient
def winograd_conv2d(x, kernel):
    """The 3x3 convolution with zero padding, `tf.nn.conv2d(x, kernel, 1, "SAME")`, and both its gradients.

    The arithmetic is exact but for rounding: about 5e-6 of the largest output in float32, where the direct sum has
    5e-7. Half precision is too coarse for it. Products of matrices, at the processor's full rate, take the place of
    oneDNN's convolution, whose gradients are slow on small maps; compiled loops transform what goes in and out.

    Shapes:
        x (batch, height, width, channels), kernel (3, 3, channels, filters) -> (batch, height, width, filters).
        Tiles are 4x4 outputs: a map of 3x3 costs as much as one of 4x4.

    Forward and both gradients of 128 pictures took 294 ms where oneDNN took 422 at 32x32 (64 to 128 channels), 106 and
    182 at 16x16 (128 to 128), 233 and 455 at 16x16 (128 to 256), 145 and 348 at 8x8 (256 to 512), 78 and 339 at 4x4
    (512 to 512): medians of 3, float32, 2 cores with AVX-512, TensorFlow 2.21, `python benchmarks/convolution.py`. Of
    200 pictures (n = 5): 160 and 314 at 7x7 (256 to 256), 36 and 104 at 3x3, 220 and 315 at 15x15 (64 to 256).

    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308), section 4.
    """
    inputs, weights = from_map(cut, x), kernel_to_products(kernel)
    y = to_map(join, tf.matmul(inputs, weights), x.shape)

    def gradients(dy):
        products = from_map(join_gradient, dy)
        dx = to_map(cut_gradient, tf.matmul(products, weights, transpose_b=True), x.shape)
        return dx, products_to_kernel(tf.matmul(inputs, products, transpose_a=True), kernel.shape)

    return y, gradients


def whole_tiles(size):
    """The size, rounded up to whole tiles: what the transform works on."""
    return -(-size // TILE) * TILE


def kernel_to_products(kernel):
    """(3, 3, channels, filters) -> (36, channels, filters)."""
    both = tf.constant(np.kron(KERNEL, KERNEL), kernel.dtype)  # (36, 9)
    return tf.reshape(both @ tf.reshape(kernel, [9, -1]), [-1, *kernel.shape[2:]])


def products_to_kernel(products, shape):
    """The gradient of `kernel_to_products`."""
    both = tf.constant(np.kron(KERNEL, KERNEL).T, products.dtype)
    return tf.reshape(both @ tf.reshape(products, [both.shape[1], -1]), shape)


def from_map(stage, x):
    """(batch, height, width, channels) -> (36, tiles, channels), by one stage along both axes."""
    for axis in (WIDTH, HEIGHT):  # one loop each: with both axes in one, XLA repeats the first's work, twice the time
        x = compiled(stage, tf.TensorSpec(x.shape, x.dtype), axis=axis, size=x.shape[axis])(x)
    tiles = tf.shape(x)[2] * x.shape[3] * x.shape[4]
    return tf.reshape(x, [x.shape[0] * x.shape[1], tiles, x.shape[5]])


def to_map(stage, products, shape):
    """(36, tiles, channels) -> (batch, height, width, channels), by one stage along both axes."""
    rows, columns = (whole_tiles(size) // TILE for size in shape[1:3])
    batch = tf.shape(products)[1] // (rows * columns)
    x = tf.reshape(products, [TILE + 2, TILE + 2, batch, rows, columns, products.shape[-1]])
    for axis in (HEIGHT, WIDTH):
        x = compiled(stage, tf.TensorSpec(x.shape, x.dtype), axis=axis, size=shape[axis])(x)
    return x


def cut(x, axis, size):
    """(..., size, ...) -> (6, ..., tiles, ...): each tile's six inputs, neighbours and zero padding included."""
    return tf.stack(combine(INPUT, every_fourth(padded(x, axis, 1, 1 + whole_tiles(size) - size), axis, TILE + 2)))


def cut_gradient(products, axis, size):
    """(6, ..., tiles, ...) -> (..., size, ...)."""
    before, first, second, third, last, after = combine(INPUT.T, tf.unstack(products))
    first, last = first + shifted(after, axis, 1), last + shifted(before, axis, -1)
    return along(interleaved([first, second, third, last], axis), axis, slice(size))


def join(products, axis, size):
    """(6, ..., tiles, ...) -> (..., size, ...): the outputs from the products."""
    return along(interleaved(combine(OUTPUT, tf.unstack(products)), axis), axis, slice(size))


def join_gradient(dy, axis, size):
    """(..., size, ...) -> (6, ..., tiles, ...)."""
    return tf.stack(combine(OUTPUT.T, every_fourth(padded(dy, axis, 0, whole_tiles(size) - size), axis, TILE)))


def combine(matrix, parts):
    """The matrix times a column of tensors, as a list."""
    return [sum(part * tf.cast(a, part.dtype) for a, part in zip(row, parts, strict=True) if a) for row in matrix]


def every_fourth(x, axis, count):
    """[x[0], x[4], x[8]...], [x[1], x[5], ...] and so on along the axis, `count` of them, all equally long."""
    tiles = (x.shape[axis] - count) // TILE + 1
    starts = range(count)
    return [along(x, axis, slice(start, start + TILE * (tiles - 1) + 1, TILE)) for start in starts]


def interleaved(parts, axis):
    """The inverse of `every_fourth` with four parts."""
    stacked = tf.stack(parts, axis)  # one axis more, behind the tiles
    shape = [tf.shape(parts[0])[i] if size is None else size for i, size in enumerate(parts[0].shape)]
    shape[axis] *= len(parts)
    return tf.reshape(stacked, shape)


def shifted(x, axis, by):
    """x moved by one place along the axis, zero coming in."""
    if by > 0:
        return padded(along(x, axis, slice(None, -1)), axis, 1, 0)
    return padded(along(x, axis, slice(1, None)), axis, 0, 1)


def padded(x, axis, before, after):
    """x with so many zeros before and after it along the axis."""
    padding = [[0, 0]] * x.shape.rank
    padding[axis] = [before, after]
    return tf.pad(x, padding)


def along(x, axis, cut):
    """x[..., cut, ...] with the slice at the given axis."""
    return x[(..., cut, *[slice(None)] * (-axis - 1))]
