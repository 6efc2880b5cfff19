"""3x3 convolution by Winograd's minimal filtering: the same sums with a third to a fifth of the multiplications."""

import functools
from fractions import Fraction
from math import prod
from typing import NamedTuple

import numpy as np

from davidnet_keras.kernels import devices
from davidnet_keras.kernels.backend import tf
from davidnet_keras.kernels.one_loop import compiled

SIDE = 3  # of the kernel
# A tile of m outputs along an axis is made from m + 2 inputs by m + 2 products. By m: the m + 1 points, as fractions,
# where `toom_cook` evaluates its polynomials; infinity is added. They were chosen for little rounding by
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
    """An axis of a map, cut into tiles."""

    size: int  # pixels
    tile: int  # outputs that are made together

    @property
    def tiles(self):
        return -(-self.size // self.tile)

    @property
    def products(self):
        """Products per pair of channels along the axis."""
        return self.tiles * (self.tile + 2)


def cut(size):
    """The `Axis` of this size with the fewest products; of several, the one whose tile is nearest to 4.

    For example 15 is cut into 3 tiles of 5, 16 into 4 of 4. The coarse tile serves where it fits without remainder and
    TensorFlow may round float32 to TF32, its default.
    """
    coarse = size % COARSE == 0 and devices.tensor_float_32_enabled()
    axes = [Axis(size, tile) for tile in POINTS if coarse or tile != COARSE]
    return min(axes, key=lambda axis: (axis.products, abs(axis.tile - 4)))


@tf.custom_gradient
def winograd_conv2d(x, kernel):
    """The 3x3 convolution with zero padding, `tf.nn.conv2d(x, kernel, 1, "SAME")`, and both its gradients.

    Matrix products at the processor's full rate replace oneDNN's convolution, whose gradients are slow on small maps;
    compiled loops transform their inputs and outputs. The arithmetic is exact but for rounding: 1e-5 of the largest
    value in float32. Half precision is too coarse. Times and rounding are in docs/results/kernels.

    Shapes: x (batch, height, width, channels), kernel (3, 3, channels, filters) -> (batch, height, width, filters).

    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308), section 4.
    """
    axes = [cut(size) for size in x.shape[1:3]]
    # The kernel's transform along height and width at once: (products, 9).
    matrix = tf.constant(np.kron(*(transforms(axis.tile)[1] for axis in axes)), kernel.dtype)
    weights = tf.reshape(matrix @ tf.reshape(kernel, [SIDE**2, -1]), [-1, *kernel.shape[2:]])
    inputs = _from_map(x, "inputs", axes)
    y = _to_map(tf.matmul(inputs, weights), "outputs", axes)

    def gradients(dy):
        outputs = _from_map(dy, "outputs", axes)
        dx = _to_map(tf.matmul(outputs, weights, transpose_b=True), "inputs", axes)
        dweights = tf.reshape(tf.matmul(inputs, outputs, transpose_a=True), [matrix.shape[0], -1])
        return dx, tf.reshape(tf.matmul(matrix, dweights, transpose_a=True), kernel.shape)

    return y, gradients


@functools.cache
def transforms(tile):
    """The matrices of `toom_cook` for a tile of this many outputs."""
    return toom_cook([Fraction(*point) for point in POINTS[tile]])


def toom_cook(points):
    """Matrices I (n, n), K (n, 3), O (tile, n), n = tile + 2: along an axis, outputs = O @ ((K @ w) * (I @ x)).

    Toom-Cook multiplies two polynomials by way of their values at n points: these tile + 1 fractions and infinity.
    The convolution is the transpose of that.
    """
    tile = len(points) - 1
    others = [[other for other in points if other != point] for point in points]
    inputs = [[*_with_roots(rest), 0] for rest in others] + [_with_roots(points)]
    weights = [prod(point - other for other in rest) for point, rest in zip(points, others, strict=True)]
    kernel = [[point**k / weight for k in range(SIDE)] for point, weight in zip(points, weights, strict=True)]
    output = [[point**k for point in points] + [int(k == tile - 1)] for k in range(tile)]
    return [np.array(matrix, float) for matrix in (inputs, [*kernel, [0] * (SIDE - 1) + [1]], output)]


def _with_roots(roots):
    """The coefficients of the product of (x - root), the constant one first."""
    coefficients = [Fraction(1)]
    for root in roots:
        pairs = zip([0, *coefficients], [*coefficients, 0], strict=True)
        coefficients = [lower - root * same for lower, same in pairs]
    return coefficients


def _from_map(x, kind, axes):
    """(batch, height, width, channels) -> (products, tiles, channels).

    XLA's loops run at the memory's speed if they hold no padding and no branch and read neighbouring memory. So
    TensorFlow pads before them and transposes the products after them.
    """
    (high, wide), channels = axes, x.shape[3]
    x = tf.pad(x, [[0, 0], *(_pixels_to_products(kind, axis)[1] for axis in axes), [0, 0]])
    rows, columns = x.shape[1:3]
    x = _in_loop(_split, tf.reshape(x, [-1, columns, channels]), kind, wide)  # (., tiles across, n, channels)
    x = _in_loop(_split, tf.reshape(x, [-1, rows, wide.products * channels]), kind, high)  # (., tiles down, n, .)
    x = tf.reshape(x, [-1, high.tile + 2, wide.tiles, wide.tile + 2, channels])
    return tf.reshape(tf.transpose(x, [1, 3, 0, 2, 4]), [(high.tile + 2) * (wide.tile + 2), -1, channels])


def _to_map(products, kind, axes):
    """(products, tiles, channels) -> (batch, height, width, channels), the gradient of `_from_map`."""
    (high, wide), channels = axes, products.shape[-1]
    x = _in_loop(_merge, tf.reshape(products, [high.tile + 2, -1, high.tiles, wide.tiles * channels]), kind, high)
    x = _in_loop(_merge, tf.reshape(x, [wide.tile + 2, -1, wide.tiles, channels]), kind, wide)
    return tf.reshape(x, [-1, high.size, wide.size, channels])


def _in_loop(function, x, kind, axis):
    return compiled(function, tf.TensorSpec(x.shape, x.dtype), kind=kind, axis=axis)(x)


def _split(x, kind, axis):
    """(., pixels, .) -> (., tiles, n, .): the n products of each tile of the padded axis."""
    matrix, _ = _pixels_to_products(kind, axis)
    last = axis.tile * (axis.tiles - 1)
    return _weighted(matrix, [x[:, j : j + last + 1 : axis.tile] for j in range(matrix.shape[1])])


def _merge(products, kind, axis):
    """(n, ., tiles, .) -> (., size, .), the gradient of `_split`."""
    matrix, (before, _) = _pixels_to_products(kind, axis)
    products = tf.unstack(products)
    x = _weighted(matrix.T[before : before + axis.tile], products)  # (., tiles, pixels, .)
    if before:  # each tile reaches one pixel into its neighbours on either side
        last, first = _weighted(matrix.T[:1], products), _weighted(matrix.T[-1:], products)
        x += tf.pad(last[:, 1:], [[0, 0], [0, 1], [axis.tile - 1, 0], [0, 0]])
        x += tf.pad(first[:, :-1], [[0, 0], [1, 0], [0, axis.tile - 1], [0, 0]])
    return tf.reshape(x, [tf.shape(x)[0], axis.tiles * x.shape[2], x.shape[3]])[:, : axis.size]


def _weighted(matrix, parts):
    """The matrix times a column of tensors (., tiles, .): (., tiles, rows, .)."""
    columns = tf.unstack(tf.constant(matrix[:, :, None], parts[0].dtype), axis=1)
    return sum(column * part[:, :, None] for column, part in zip(columns, parts, strict=True))


def _pixels_to_products(kind, axis):
    """The matrix (n, pixels) from a tile's pixels to its products; the zeros needed before and after the axis.

    `kind` is "inputs", or "outputs" for the gradient of the output.
    """
    inputs, _, outputs = transforms(axis.tile)
    matrix, before = (inputs, 1) if kind == "inputs" else (outputs.T, 0)
    if axis.tiles == 1:  # beyond the map there are zeros
        matrix, before = matrix[:, before : before + axis.size], 0
    return matrix, [before, axis.tile * (axis.tiles - 1) + matrix.shape[1] - before - axis.size]
