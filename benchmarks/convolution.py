"""Time DavidNet's and FastNet's convolutions, forward and both gradients together, with every implementation.

python benchmarks/convolution.py                     # float32, 128 pictures
python benchmarks/convolution.py --dtype bfloat16
"""

import argparse
import time

from davidnet_keras import tune_tensorflow

tune_tensorflow()

import tensorflow as tf  # noqa: E402
from figures import Figure, show  # noqa: E402

from davidnet_keras.kernels.convolution import plain_conv2d, small_map_conv2d  # noqa: E402
from davidnet_keras.kernels.winograd import winograd_conv2d  # noqa: E402

SHAPES = {"layer1": (32, 64, 128), "residual1": (16, 128, 128), "layer2": (16, 128, 256)}
SHAPES |= {"layer3": (8, 256, 512), "residual3": (4, 512, 512)}
SHAPES |= {"block1.conv1": (31, 24, 64), "block1.conv2": (15, 64, 64), "block2.conv1": (15, 64, 256)}  # FastNet's
SHAPES |= {"block2.conv2": (7, 256, 256), "block3.conv2": (3, 256, 256)}
WAYS = (plain_conv2d, winograd_conv2d, small_map_conv2d)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", help="dtype of the arithmetic (default: float32)")
    parser.add_argument("--batch-size", type=int, default=128, help="pictures (default: 128)")
    parser.add_argument("--times", type=int, default=5, help="repetitions (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    arguments = parser.parse_args()
    for layer, (side, channels, filters) in SHAPES.items():
        shapes = (arguments.batch_size, side, side, channels), (3, 3, channels, filters)
        x, kernel = (tf.cast(tf.random.normal(shape), arguments.dtype) for shape in shapes)
        dy = tf.ones((*x.shape[:3], filters), arguments.dtype)
        for way in WAYS if arguments.dtype == "float32" else (plain_conv2d, *WAYS[2:]):
            values = milliseconds(way, x, kernel, dy, arguments.times)
            show(Figure(f"{layer}, {side}x{side}, {channels} to {filters}, {way.__name__}", "ms", values))


def milliseconds(way, x, kernel, dy, times):
    """Time each repetition, after one that compiles."""

    @tf.function(autograph=False)
    def step(x, kernel, dy):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = way(x, kernel)
        return y, *tape.gradient(y, [x, kernel], dy)

    found = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        step(x, kernel, dy)
        found.append(1000 * (time.perf_counter() - begin))
    return found[1:]


if __name__ == "__main__":
    main()
