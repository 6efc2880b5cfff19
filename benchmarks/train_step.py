"""Time DavidNet's train step through `model.fit`, without an input pipeline.

    python benchmarks/train_step.py                                    # as the command line trains
    TF_ENABLE_ONEDNN_OPTS=0 python benchmarks/train_step.py            # without oneDNN
    python benchmarks/train_step.py --precision mixed_bfloat16

Prints one line: median, minimum and maximum of the steps, pictures a second, and the conditions.
"""

import argparse
import os
import platform
import statistics
import time

from davidnet_keras import tune_tensorflow

tune_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from davidnet_keras import DavidNet, MomentumSGD, choose_precision  # noqa: E402

MULTIPLY_ADDS = 0.379e9  # a picture, forward, at width 64; a training step takes three times as many


class StepTimes(keras.callbacks.Callback):
    """The seconds that each step took."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.begin = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # wait for the step
        self.seconds.append(time.perf_counter() - self.begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=256, help="pictures a step (default: 256)")
    parser.add_argument("--steps", type=int, default=5, help="steps counted, after two that are not (default: 5)")
    parser.add_argument("--dropout", type=float, default=0.05, help="share of outputs dropped (default: 0.05)")
    parser.add_argument("--precision", default="auto", help="Keras dtype policy (default: auto)")
    arguments = parser.parse_args()
    precision, reason = choose_precision(arguments.precision)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (arguments.batch_size, 32, 32, 3), np.uint8)
    y = rng.integers(0, 10, arguments.batch_size)
    model = DavidNet(dropout=arguments.dropout, l2=5e-4 * arguments.batch_size, dtype=precision)
    model.adapt(x)
    model.compile(MomentumSGD(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    times = StepTimes()
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    model.fit(data, steps_per_epoch=arguments.steps + 2, shuffle=False, verbose=0, callbacks=[times])
    seconds = times.seconds[2:]
    median = statistics.median(seconds)
    rate = arguments.batch_size / median
    print(
        f"{median:.2f} s a step (n = {len(seconds)}, {min(seconds):.2f} to {max(seconds):.2f}), {rate:.0f} pictures/s, "
        f"{rate * MULTIPLY_ADDS * 6 / 1e9:.0f} GFLOP/s: batch {arguments.batch_size}, dropout {arguments.dropout}, "
        f"{precision} ({reason}), oneDNN {os.environ['TF_ENABLE_ONEDNN_OPTS']}, {os.cpu_count()} cores, "
        f"{platform.machine()}, tensorflow {tf.__version__}, keras {keras.__version__}"
    )


if __name__ == "__main__":
    main()
