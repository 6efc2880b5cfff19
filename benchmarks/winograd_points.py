"""Measure the rounding errors of Winograd tiles by their interpolation points, and search for better points.

    python benchmarks/winograd_points.py                          # the package's points and the usual ones
    python benchmarks/winograd_points.py --tile 7 --search 600    # search for ten minutes, for tiles of 7

Each figure is the largest difference between float32 and float64, relative to the largest value: in the outputs, the
kernel's gradient and the inputs' gradient of convolutions of random numbers, one tile each. Everything is in NumPy.
"""

import argparse
import random
import time
from fractions import Fraction

import numpy as np

from davidnet_keras.kernels.winograd import POINTS, toom_cook

USUAL = [Fraction(*point) for point in ((0, 1), (1, 1), (-1, 1), (2, 1), (-2, 1), (1, 2), (-1, 2), (4, 1))]
CANDIDATES = sorted({Fraction(a, b) for b in range(1, 9) for a in range(1, 33) if 1 / 6 <= a / b <= 4})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tile", type=int, choices=POINTS, help="side of a tile's outputs (default: each in turn)")
    parser.add_argument("--search", type=float, metavar="SECONDS", help="search for this long")
    parser.add_argument("--seed", type=int, default=0, help="seed of the search (default: 0)")
    options = parser.parse_args()
    for tile in [options.tile] if options.tile else POINTS:
        show(f"tile {tile}, the package's", [Fraction(*point) for point in POINTS[tile]])
        show(f"tile {tile}, the usual ones", USUAL[: tile + 1])
        if options.search:
            show(f"tile {tile}, found", search(tile, options.search, options.seed))


def show(name, points):
    figures = ", ".join(f"{figure:.1e}" for figure in rounding(points, channels=256, tiles=200))
    print(f"{name}: {figures} ({' '.join(map(str, points))})", flush=True)


def rounding(points, channels, tiles):
    """Relative rounding errors of the outputs, the kernel's gradient and the inputs' gradient."""
    rng = np.random.default_rng(0)
    matrices = toom_cook(points)
    n, tile = len(points) + 1, len(points) - 1
    inputs = np.maximum(rng.normal(size=(n, n, tiles, channels)), 0)  # as after a ReLU
    kernel, gradient = rng.normal(size=(3, 3, channels)), rng.normal(size=(tile, tile, tiles))
    low, high = (
        convolution(*(array.astype(dtype) for array in (*matrices, inputs, kernel, gradient)))
        for dtype in (np.float32, np.float64)
    )
    return [abs(one - other).max() / abs(other).max() for one, other in zip(low, high, strict=True)]


def convolution(to_inputs, to_kernel, to_outputs, inputs, kernel, gradient):
    """(outputs (tile, tile, tiles), the kernel's gradient (3, 3, channels), the inputs' (n, n, tiles, channels))."""
    inputs, kernel, gradient = both(to_inputs, inputs), both(to_kernel, kernel), both(to_outputs.T, gradient)
    outputs = np.einsum("ijtc,ijc->ijt", inputs, kernel)
    to_kernel_gradient = np.einsum("ijtc,ijt->ijc", inputs, gradient)
    to_inputs_gradient = gradient[..., None] * kernel[:, :, None]
    return both(to_outputs, outputs), both(to_kernel.T, to_kernel_gradient), both(to_inputs.T, to_inputs_gradient)


def both(matrix, array):
    """Apply the matrix to the first and second axes."""
    return np.einsum("ij,kj...->ki...", matrix, np.einsum("ij,jk...->ik...", matrix, array))


def search(tile, seconds, seed):
    """The points tried with the smallest rounding errors: pairs +-a, and 0 if their number is odd."""
    rng, end = random.Random(seed), time.monotonic() + seconds
    zero, pairs = [Fraction(0)] * ((tile + 1) % 2), (tile + 1) // 2
    best = least = None
    while time.monotonic() < end:
        chosen = list(best or ())
        if not chosen or rng.random() < 0.3:
            chosen = rng.sample(CANDIDATES, pairs)
        else:  # a neighbour of the best so far
            moved = rng.randrange(pairs)
            place = CANDIDATES.index(chosen[moved]) + rng.randint(-4, 4)
            chosen[moved] = CANDIDATES[min(max(place, 0), len(CANDIDATES) - 1)]
        if len(set(chosen)) < pairs:
            continue
        worst = max(rounding(with_signs(zero, chosen), channels=64, tiles=60))
        if least is None or worst < least:
            best, least = chosen, worst
    return with_signs(zero, sorted(best))


def with_signs(zero, positive):
    return zero + [sign * point for point in positive for sign in (1, -1)]


if __name__ == "__main__":
    main()
