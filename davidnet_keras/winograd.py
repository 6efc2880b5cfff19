"""3x3 convolution by Winograd's minimal filtering: a quarter of the multiplications for the same sums, or fewer."""

import functools
from fractions import Fraction
from math import prod

import numpy as np
import tensorflow as tf

from davidnet_keras.one_loop import compiled

SIDE = 3  # of the kernel
# Where the polynomials are evaluated, infinity besides, by the tile's size: so many outputs along an axis are made
# together, from two inputs more by as many products as inputs. A search over small fractions found the least rounding.
POINTS = {
    3: [(3, 5), (-3, 5), (4, 3), (-4, 3)],
    4: [(0, 1), (2, 3), (-2, 3), (7, 5), (-7, 5)],
    5: [(1, 3), (-1, 3), (5, 6), (-5, 6), (13, 7), (-13, 7)],
    6: [(0, 1), (1, 2), (-1, 2), (1, 1), (-1, 1), (13, 6), (-13, 6)],
    7: [(1, 5), (-1, 5), (2, 3), (-2, 3), (7, 6), (-7, 6), (2, 1), (-2, 1)],
}


@tf.custom_gradient
def winograd_conv2d(x, kernel):
    """The 3x3 convolution with zero padding, `tf.nn.conv2d(x, kernel, 1, "SAME")`, and both its gradients.

    The arithmetic is exact but for rounding: in float32 at most 1e-5 of the largest output (a map of 7x7: 4e-5), where
    the direct sum has 5e-7. Half precision is too coarse for it. Products of matrices, at the processor's full rate,
    take the place of oneDNN's convolution, whose gradients are slow on small maps; compiled loops transform what goes
    in and out.

    Shapes:
        x (batch, height, width, channels), kernel (3, 3, channels, filters) -> (batch, height, width, filters).
        Each axis is cut into tiles of the size that costs it the fewest products: 15 into 3 of 5, 16 into 4 of 4.

    Forward and both gradients of 128 pictures took 294 ms where oneDNN took 422 at 32x32 (64 to 128 channels), 106 and
    182 at 16x16 (128 to 128), 233 and 455 at 16x16 (128 to 256), 145 and 348 at 8x8 (256 to 512), 78 and 339 at 4x4
    (512 to 512): medians of 3, float32, 2 cores with AVX-512, TensorFlow 2.21, `python benchmarks/convolution.py`. Of
    200 pictures (n = 5): 160 and 314 at 7x7 (256 to 256), 36 and 104 at 3x3, 220 and 315 at 15x15 (64 to 256).

    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308), section 4.
    """
    inputs, weights = from_map(x, "inputs"), kernel_to_products(kernel, x.shape)
    y = to_map(tf.matmul(inputs, weights), "outputs", x.shape)

    def gradients(dy):
        products = from_map(dy, "outputs")
        dx = to_map(tf.matmul(products, weights, transpose_b=True), "inputs", x.shape)
        dkernel = tf.matmul(inputs, products, transpose_a=True)
        return dx, products_to_kernel(dkernel, x.shape, kernel.shape)

    return y, gradients


def products_along(size):
    """How many products (per pair of channels) an axis of this size costs, with the tiles that are best for it."""
    tile, tiles = tiling(size)
    return tiles * (tile + 2)


@functools.cache
def tiling(size):
    """(tile, tiles): how many outputs along an axis are made together, and how often. 7 rounds most: for 7 only."""
    fitting = {tile: -(-size // tile) for tile in POINTS if tile < 7 or tile == size}
    return min(fitting.items(), key=lambda item: (item[1] * (item[0] + 2), abs(item[0] - 4)))


@functools.cache
def transforms(tile):
    """Matrices I (n, n), K (n, 3), O (tile, n), n = tile + 2: along an axis, outputs = O @ ((K @ w) * (I @ x)).

    Two polynomials, w and the output, are multiplied by way of their values at n points (Toom-Cook); the transpose of
    that is the convolution.
    """
    points = [Fraction(*point) for point in POINTS[tile]]
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


def kernel_matrix(shape, dtype):
    """The kernel's transform along both axes at once, for a map (batch, height, width, channels): (products, 9)."""
    along_height, along_width = (transforms(tiling(size)[0])[1] for size in shape[1:3])
    return tf.constant(np.kron(along_height, along_width), dtype)


def kernel_to_products(kernel, shape):
    """(3, 3, channels, filters) -> (products, channels, filters), for a map of this shape."""
    flat = kernel_matrix(shape, kernel.dtype) @ tf.reshape(kernel, [SIDE**2, -1])
    return tf.reshape(flat, [-1, *kernel.shape[2:]])


def products_to_kernel(products, shape, kernel_shape):
    """The gradient of `kernel_to_products`."""
    both = kernel_matrix(shape, products.dtype)
    return tf.reshape(tf.matmul(both, tf.reshape(products, [both.shape[0], -1]), transpose_a=True), kernel_shape)


def from_map(x, kind):
    """(batch, height, width, channels) -> (products, tiles, channels).

    What XLA compiles runs at the memory's speed where it has neither padding nor choice in the loop and finds all that
    it adds nearby. So TensorFlow pads before it, and sorts the products, made side by side, behind it.
    """
    _, height, width, channels = x.shape
    (high, _), (wide, columns) = tiling(height), tiling(width)
    x = tf.pad(x, [[0, 0], padding(kind, height), padding(kind, width), [0, 0]])
    heights = x.shape[1]
    x = loop(split, tf.reshape(x, [-1, x.shape[2], channels]), kind, width)  # (., columns, n, channels)
    x = loop(split, tf.reshape(x, [-1, heights, columns * (wide + 2) * channels]), kind, height)  # (., rows, n, .)
    x = tf.transpose(tf.reshape(x, [-1, high + 2, columns, wide + 2, channels]), [1, 3, 0, 2, 4])
    return tf.reshape(x, [(high + 2) * (wide + 2), -1, channels])


def to_map(products, kind, shape):
    """(products, tiles, channels) -> (batch, height, width, channels), the gradient of `from_map`."""
    (_, height, width, _), channels = shape, products.shape[-1]
    (high, rows), (wide, columns) = tiling(height), tiling(width)
    x = loop(merge, tf.reshape(products, [high + 2, -1, rows, columns * channels]), kind, height)
    x = loop(merge, tf.reshape(x, [wide + 2, -1, columns, channels]), kind, width)
    return tf.reshape(x, [-1, height, width, channels])


def loop(function, x, kind, size):
    """`function`, compiled."""
    return compiled(function, tf.TensorSpec(x.shape, x.dtype), kind=kind, size=size)(x)


def split(x, kind, size):
    """(., places, .) -> (., tiles, n, .): what each tile of the axis, padded, gives for its n products."""
    matrix, _ = places_to_products(kind, size)
    tile, tiles = tiling(size)
    places = [x[:, j : j + tile * (tiles - 1) + 1 : tile] for j in range(matrix.shape[1])]
    return weighted(matrix, places)


def merge(products, kind, size):
    """(n, ., tiles, .) -> (., size, .), the gradient of `split`: what the products of each tile give for its places."""
    matrix, before = places_to_products(kind, size)
    tile, tiles = tiling(size)
    products = tf.unstack(products)
    x = weighted(matrix.T[before : before + tile], products)  # (., tiles, places, .)
    if before:  # each tile reaches into its neighbours, by a place on either side
        last, first = weighted(matrix.T[:1], products), weighted(matrix.T[-1:], products)
        x += tf.pad(last[:, 1:], [[0, 0], [0, 1], [tile - 1, 0], [0, 0]])
        x += tf.pad(first[:, :-1], [[0, 0], [1, 0], [0, tile - 1], [0, 0]])
    return tf.reshape(x, [tf.shape(x)[0], tiles * x.shape[2], x.shape[3]])[:, :size]


def weighted(matrix, parts):
    """The matrix times a column of tensors (., tiles, .): (., tiles, rows, .)."""
    columns = tf.unstack(tf.constant(matrix[:, :, None], parts[0].dtype), axis=1)
    return sum(column * part[:, :, None] for column, part in zip(columns, parts, strict=True))


def padding(kind, size):
    """The zeros that `split` needs before and after an axis."""
    matrix, before = places_to_products(kind, size)
    tile, tiles = tiling(size)
    return [before, tile * (tiles - 1) + matrix.shape[1] - before - size]


def places_to_products(kind, size):
    """The matrix (n, places) from a tile's places to its products, and how many places before the tile it begins.

    Args:
        kind: "inputs", or "outputs" for the gradient of what is made of the products.
        size: int, of the axis.
    """
    tile, tiles = tiling(size)
    inputs, _, outputs = transforms(tile)
    matrix, before = (inputs, 1) if kind == "inputs" else (outputs.T, 0)
    if tiles > 1:
        return matrix, before
    return matrix[:, before : before + size], 0  # beyond the map there are zeros
