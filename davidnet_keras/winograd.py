"""3x3 convolution by Winograd's minimal filtering: a quarter of the multiplications for the same sums."""

import functools

import numpy as np
import tensorflow as tf

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
        Height and width must be multiples of 4.

    Forward and both gradients of 128 pictures took 294 ms where oneDNN took 422 at 32x32 (64 to 128 channels), 106 and
    182 at 16x16 (128 to 128), 233 and 455 at 16x16 (128 to 256), 145 and 348 at 8x8 (256 to 512), 78 and 339 at 4x4
    (512 to 512): medians of 3, float32, 2 cores with AVX-512, TensorFlow 2.21, `python benchmarks/convolution.py`.

    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308), section 4.
    """
    inputs, weights = from_map(cut, x), kernel_to_products(kernel)
    y = to_map(join, tf.matmul(inputs, weights), x.shape)

    def gradients(dy):
        products = from_map(join_gradient, dy)
        dx = to_map(cut_gradient, tf.matmul(products, weights, transpose_b=True), x.shape)
        return dx, products_to_kernel(tf.matmul(inputs, products, transpose_a=True), kernel.shape)

    return y, gradients


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
    x = compiled(stage, WIDTH, tuple(x.shape), x.dtype)(x)
    x = compiled(stage, HEIGHT, tuple(x.shape), x.dtype)(x)
    tiles = tf.shape(x)[2] * x.shape[3] * x.shape[4]
    return tf.reshape(x, [x.shape[0] * x.shape[1], tiles, x.shape[5]])


def to_map(stage, products, shape):
    """(36, tiles, channels) -> (batch, height, width, channels), by one stage along both axes."""
    rows, columns, channels = shape[1] // TILE, shape[2] // TILE, products.shape[-1]
    batch = tf.shape(products)[1] // (rows * columns)
    x = tf.reshape(products, [TILE + 2, TILE + 2, batch, rows, columns, channels])
    x = compiled(stage, HEIGHT, tuple(x.shape), x.dtype)(x)
    return compiled(stage, WIDTH, tuple(x.shape), x.dtype)(x)


@functools.cache
def compiled(stage, axis, shape, dtype):
    """The stage as one XLA loop. With both axes in one, XLA repeats the first's work: twice the time."""
    signature = [tf.TensorSpec(shape, dtype)]
    return tf.function(functools.partial(stage, axis=axis), signature, autograph=False, jit_compile=True)


def cut(x, axis):
    """(..., size, ...) -> (6, ..., size / 4, ...): each tile's six inputs, neighbours and zero padding included."""
    padding = [[0, 0]] * x.shape.rank
    padding[axis] = [1, 1]
    return tf.stack(combine(INPUT, every_fourth(tf.pad(x, padding), axis, TILE + 2)))


def cut_gradient(products, axis):
    """(6, ..., size / 4, ...) -> (..., size, ...)."""
    before, first, second, third, last, after = combine(INPUT.T, tf.unstack(products))
    first, last = first + shifted(after, axis, 1), last + shifted(before, axis, -1)
    return interleaved([first, second, third, last], axis)


def join(products, axis):
    """(6, ..., size / 4, ...) -> (..., size, ...): the outputs from the products."""
    return interleaved(combine(OUTPUT, tf.unstack(products)), axis)


def join_gradient(dy, axis):
    """(..., size, ...) -> (6, ..., size / 4, ...)."""
    return tf.stack(combine(OUTPUT.T, every_fourth(dy, axis, TILE)))


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
    padding = [[0, 0]] * x.shape.rank
    padding[axis] = [1, 0] if by > 0 else [0, 1]
    return tf.pad(along(x, axis, slice(None, -1) if by > 0 else slice(1, None)), padding)


def along(x, axis, cut):
    """x[..., cut, ...] with the slice at the given axis."""
    return x[(..., cut, *[slice(None)] * (-axis - 1))]
