"""Measure what a batch-wise learning-rate schedule adds to the time of a step, on the active Keras backend.

    python benchmarks/callback_overhead.py
    KERAS_BACKEND=jax python benchmarks/callback_overhead.py
    KERAS_BACKEND=torch python benchmarks/callback_overhead.py

Fits a model of one weight alternately with and without the callback, in one process. Prints one line: the time per step
of each, the ratio to the stock `fit` of the same pair, hardware and versions.
"""

import argparse
import os
import platform
import statistics
import time
from importlib.metadata import version

import keras
import numpy as np

import davidnet_callbacks


class EpochTime(keras.callbacks.Callback):
    """Time the only epoch, without the rest of `fit`. It must come last in the list."""

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.begin  # Keras has read the loss, so every step is done


def new_model():
    """A model whose step costs almost nothing but Keras's own overhead."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def step_seconds(model, steps, *callbacks):
    """Seconds per step of one `fit`."""
    x, timer = np.ones((steps, 1), "float32"), EpochTime()
    model.fit(x, x, batch_size=1, shuffle=False, verbose=0, callbacks=[*callbacks, timer])
    return timer.seconds / steps


def spread(seconds):
    """Minimum, median and maximum, in milliseconds."""
    low, middle, high = (1e3 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:.4f} ms per step ({low:.4f} to {high:.4f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=int, default=21, help="pairs of fits, with and without the callback (default: 21)"
    )
    parser.add_argument("--steps", type=int, default=1000, help="steps per fit (default: 1000)")
    parser.add_argument("--schedule", default="OneCycleTriangle", help="the callback (default: OneCycleTriangle)")
    arguments = parser.parse_args()
    scheduler = getattr(davidnet_callbacks, arguments.schedule)(0.1)
    stock_model, model = new_model(), new_model()
    stock, scheduled = [], []
    for number in range(arguments.pairs + 2):  # the first two compile and warm up
        for place in (number, number + 1):  # alternate which of the two goes first
            if place % 2:
                stock.append(step_seconds(stock_model, arguments.steps))
            else:
                scheduled.append(step_seconds(model, arguments.steps, scheduler))
    stock, scheduled = stock[2:], scheduled[2:]
    ratios = [one / other for one, other in zip(scheduled, stock, strict=True)]
    print(
        f"stock {spread(stock)}, {arguments.schedule} {spread(scheduled)}, ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}), n = {len(ratios)} pairs of {arguments.steps} steps: "
        f"{keras.backend.backend()} {version(keras.backend.backend())}, keras {keras.__version__}, {os.cpu_count()} "
        f"cores, {platform.machine()}"
    )


if __name__ == "__main__":
    main()
