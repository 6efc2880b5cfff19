"""3x3 convolution by Winograd's minimal filtering: the same sums with a third to a fifth of the multiplications."""

import functools
from fractions import Fraction
from math import prod
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from davidnet_keras.kernels.one_loop import compiled

SIDE = 3  # of the kernel
# A tile of m outputs along an axis is made from m + 2 inputs by m + 2 products. By m: the m + 1 points, as fractions,
# where `toom_cook` evaluates its polynomials; infinity comes besides. They were sought for little rounding:
# `python benchmarks/winograd_points.py`.
POINTS = {
    3: [(3, 5), (-3, 5), (4, 3), (-4, 3)],
    4: [(0, 1), (2, 3), (-2, 3), (7, 5), (-7, 5)],
    5: [(1, 3), (-1, 3), (5, 6), (-5, 6), (13, 7), (-13, 7)],
    6: [(0, 1), (1, 2), (-1, 2), (1, 1), (-1, 1), (13, 6), (-13, 6)],
    7: [(1, 5), (-1, 5), (2, 3), (-2, 3), (7, 6), (-7, 6), (2, 1), (-2, 1)],
}
COARSE = 7  # the tile that rounds several times more than the others


class Axis(NamedTuple):
    """An axis of a map, cut into tiles.

    Args:
        size: int, places.
        tile: int, how many outputs are made together.
    """

    size: int
    tile: int

    @property
    def tiles(self):
        return -(-self.size // self.tile)

    @property
    def products(self):
        """How many products (per pair of channels) the axis costs."""
        return self.tiles * (self.tile + 2)


def cut(size):
    """The `Axis` of this size with the fewest products; of those with as few, the one whose tile is nearest to 4.

    The coarse tile serves where it fits without rest and TensorFlow may round float32 to TF32, as it may by default.
    """
    return cut_with(size, tf.config.experimental.tensor_float_32_execution_enabled())


@functools.cache
def cut_with(size, coarse):
    tiles = [tile for tile in POINTS if tile != COARSE or (coarse and size % tile == 0)]
    return min((Axis(size, tile) for tile in tiles), key=lambda axis: (axis.products, abs(axis.tile - 4)))


@tf.custom_gradient
def winograd_conv2d(x, kernel):
    """The 3x3 convolution with zero padding, `tf.nn.conv2d(x, kernel, 1, "SAME")`, and both its gradients.

    The arithmetic is exact but for rounding. In float32, on drawn numbers, outputs and gradients were off by up to 1e-5
    of the largest, where the direct sum was by 3e-6; by 5e-5 where a side is a multiple of 7, less than a GPU's TF32.
    There too it is 1e-5 after `tf.config.experimental.enable_tensor_float_32_execution(False)`, before the model's
    first call: what is traced stays. Half precision is too coarse for Winograd. Products of matrices, at the
    processor's full rate, take the place of oneDNN's convolution, whose gradients are slow on small maps; compiled
    loops transform what goes in and out.

    Shapes:
        x (batch, height, width, channels), kernel (3, 3, channels, filters) -> (batch, height, width, filters).
        Each axis is cut into tiles of the size that costs it the fewest products: 15 into 3 of 5, 16 into 4 of 4.

    Forward and both gradients of 128 pictures took 432 ms where oneDNN took 487 at 32x32 (64 to 128 channels), 193 and
    325 at 16x16 (128 to 128), 292 and 605 at 16x16 (128 to 256), 200 and 668 at 8x8 (256 to 512), 148 and 441 at 4x4
    (512 to 512); of FastNet's, 193 and 300 at 15x15 (64 to 256), 118 and 206 at 7x7 (256 to 256), 36 and 97 at 3x3:
    medians of 5 in one slow hour, float32, 2 cores with AVX-512, TensorFlow 2.21, `python benchmarks/convolution.py`.

    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308), section 4.
    """
    axes = [cut(size) for size in x.shape[1:3]]
    inputs, weights = from_map(x, "inputs", axes), kernel_to_products(kernel, axes)
    y = to_map(tf.matmul(inputs, weights), "outputs", axes)

    def gradients(dy):
        products = from_map(dy, "outputs", axes)
        dx = to_map(tf.matmul(products, weights, transpose_b=True), "inputs", axes)
        return dx, products_to_kernel(tf.matmul(inputs, products, transpose_a=True), axes)

    return y, gradients


@functools.cache
def transforms(tile):
    """The matrices of `toom_cook` for a tile of so many outputs."""
    return toom_cook([Fraction(*point) for point in POINTS[tile]])


def toom_cook(points):
    """Matrices I (n, n), K (n, 3), O (tile, n), n = tile + 2: along an axis, outputs = O @ ((K @ w) * (I @ x)).

    Two polynomials, w and the output, are multiplied by way of their values at n points: these, tile + 1 fractions, and
    infinity (Toom-Cook). The transpose of that is the convolution.
    """
    tile = len(points) - 1
    others = [[other for other in points if other != point] for point in points]
    inputs = [[*with_roots(rest), 0] for rest in others] + [with_roots(points)]
    weights = [prod(point - other for other in rest) for point, rest in zip(points, others, strict=True)]
    kernel = [[point**k / weight for k in range(SIDE)] for point, weight in zip(points, weights, strict=True)]
    output = [[point**k for point in points] + [int(k == tile - 1)] for k in range(tile)]
    return [np.array(matrix, float) for matrix in (inputs, [*kernel, [0] * (SIDE - 1) + [1]], output)]


def with_roots(roots):
    """The coefficients of the product of (x - root), from the constant one on."""
    coefficients = [Fraction(1)]
    for root in roots:
        pairs = zip([0, *coefficients], [*coefficients, 0], strict=True)
        coefficients = [lower - root * same for lower, same in pairs]
    return coefficients


def kernel_matrix(axes, dtype):
    """The kernel's transform along height and width at once: (products, 9)."""
    return tf.constant(np.kron(*(transforms(axis.tile)[1] for axis in axes)), dtype)


def kernel_to_products(kernel, axes):
    """(3, 3, channels, filters) -> (products, channels, filters)."""
    products = kernel_matrix(axes, kernel.dtype) @ tf.reshape(kernel, [SIDE**2, -1])
    return tf.reshape(products, [-1, *kernel.shape[2:]])


def products_to_kernel(products, axes):
    """The gradient of `kernel_to_products`."""
    matrix = kernel_matrix(axes, products.dtype)
    kernel = tf.matmul(matrix, tf.reshape(products, [matrix.shape[0], -1]), transpose_a=True)
    return tf.reshape(kernel, [SIDE, SIDE, *products.shape[1:]])


def from_map(x, kind, axes):
    """(batch, height, width, channels) -> (products, tiles, channels).

    What XLA compiles runs at the memory's speed where it has neither padding nor choice in the loop and finds all that
    it adds nearby. So TensorFlow pads before it, and sorts the products, made side by side, behind it.
    """
    (high, wide), channels = axes, x.shape[3]
    x = tf.pad(x, [[0, 0], padding(kind, high), padding(kind, wide), [0, 0]])
    rows, columns = x.shape[1:3]
    x = in_loop(split, tf.reshape(x, [-1, columns, channels]), kind, wide)  # (., tiles across, n, channels)
    x = in_loop(split, tf.reshape(x, [-1, rows, wide.products * channels]), kind, high)  # (., tiles down, n, .)
    x = tf.reshape(x, [-1, high.tile + 2, wide.tiles, wide.tile + 2, channels])
    return tf.reshape(tf.transpose(x, [1, 3, 0, 2, 4]), [(high.tile + 2) * (wide.tile + 2), -1, channels])


def to_map(products, kind, axes):
    """(products, tiles, channels) -> (batch, height, width, channels), the gradient of `from_map`."""
    (high, wide), channels = axes, products.shape[-1]
    x = in_loop(merge, tf.reshape(products, [high.tile + 2, -1, high.tiles, wide.tiles * channels]), kind, high)
    x = in_loop(merge, tf.reshape(x, [wide.tile + 2, -1, wide.tiles, channels]), kind, wide)
    return tf.reshape(x, [-1, high.size, wide.size, channels])


def in_loop(function, x, kind, axis):
    """`function(x, kind, axis)`, compiled as one loop."""
    return compiled(function, tf.TensorSpec(x.shape, x.dtype), kind=kind, axis=axis)(x)


def split(x, kind, axis):
    """(., places, .) -> (., tiles, n, .): what each tile of the padded axis gives for its n products."""
    matrix, _ = places_to_products(kind, axis)
    last = axis.tile * (axis.tiles - 1)
    return weighted(matrix, [x[:, j : j + last + 1 : axis.tile] for j in range(matrix.shape[1])])


def merge(products, kind, axis):
    """(n, ., tiles, .) -> (., size, .), the gradient of `split`: what the products of each tile give for its places."""
    matrix, before = places_to_products(kind, axis)
    products = tf.unstack(products)
    x = weighted(matrix.T[before : before + axis.tile], products)  # (., tiles, places, .)
    if before:  # each tile reaches into its neighbours, by a place on either side
        last, first = weighted(matrix.T[:1], products), weighted(matrix.T[-1:], products)
        x += tf.pad(last[:, 1:], [[0, 0], [0, 1], [axis.tile - 1, 0], [0, 0]])
        x += tf.pad(first[:, :-1], [[0, 0], [1, 0], [0, axis.tile - 1], [0, 0]])
    return tf.reshape(x, [tf.shape(x)[0], axis.tiles * x.shape[2], x.shape[3]])[:, : axis.size]


def weighted(matrix, parts):
    """The matrix times a column of tensors (., tiles, .): (., tiles, rows, .)."""
    columns = tf.unstack(tf.constant(matrix[:, :, None], parts[0].dtype), axis=1)
    return sum(column * part[:, :, None] for column, part in zip(columns, parts, strict=True))


def padding(kind, axis):
    """The zeros that `split` needs before and after an axis."""
    matrix, before = places_to_products(kind, axis)
    return [before, axis.tile * (axis.tiles - 1) + matrix.shape[1] - before - axis.size]


def places_to_products(kind, axis):
    """The matrix (n, places) from a tile's places to its products, and how many places before the tile it begins.

    Args:
        kind: "inputs", or "outputs" for the gradient of what is made of the products.
        axis: `Axis`.
    """
    inputs, _, outputs = transforms(axis.tile)
    matrix, before = (inputs, 1) if kind == "inputs" else (outputs.T, 0)
    if axis.tiles > 1:
        return matrix, before
    return matrix[:, before : before + axis.size], 0  # beyond the map there are zeros
