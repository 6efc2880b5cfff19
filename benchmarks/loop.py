"""Measure the overhead of `model.fit` and of a run's default callbacks, and the time to the first step.

    python benchmarks/loop.py

A model whose step costs almost nothing is trained on the same batches in three ways, alternately: with its train
function in a bare loop, with `fit` without callbacks, and as `davidnet_keras.train` does, with everything in a run.
Then new processes train DavidNet on the embedded data set and are stopped after the second step.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from davidnet_keras import tune_tensorflow

tune_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
from figures import Figure, show  # noqa: E402

from davidnet_keras import MomentumSGD, Recipe, SumLossModel  # noqa: E402
from davidnet_keras.layers.normalization import Normalization  # noqa: E402
from davidnet_keras.runs import train as training  # noqa: E402
from davidnet_keras.runs.conditions import conditions  # noqa: E402
from davidnet_keras.runs.run_folder import RunFolder  # noqa: E402

BATCH_SIZE = 4
START = """
import os, time
from davidnet_keras import tune_tensorflow
tune_tensorflow()
import keras
from davidnet_keras import Recipe, train

class Moments(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        print("moment", time.time(), flush=True)

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])
        print("moment", time.time(), flush=True)
        if batch == 1:
            os._exit(0)

train(Recipe(batch_size={batch_size}), "shapes", run_dir={run_dir!r}, callbacks=[Moments()])
"""


class Clock(keras.callbacks.Callback):
    """Record when an epoch's steps began and ended, when validation ended and when the earlier callbacks returned."""

    def __init__(self):
        super().__init__()
        self.step_seconds, self.record_seconds = [], []

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self.begin = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.end = time.perf_counter()

    def on_test_end(self, logs=None):
        self.tested = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.step_seconds.append((self.end - self.begin) / self.params["steps"])
        self.record_seconds.append(time.perf_counter() - self.tested)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of each loop (default: 5)")
    parser.add_argument("--steps", type=int, default=1000, help="steps per epoch (default: 1000)")
    parser.add_argument("--starts", type=int, default=3, help="processes started (default: 3)")
    parser.add_argument("--batch-size", type=int, default=512, help="batch size of these processes (default: 512)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    arguments = parser.parse_args()
    loops(arguments.rounds, arguments.steps)
    starts(arguments.starts, arguments.batch_size)


def loops(rounds, steps):
    """Print the time per step of each loop, and what a run spends between two epochs."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (BATCH_SIZE * steps, 4, 4, 3), np.uint8), rng.integers(0, 10, BATCH_SIZE * steps)
    data = (x, y), (x[:8], y[:8])
    recipe = Recipe(epochs=3, batch_size=BATCH_SIZE, crop_padding=0, flip=False, learning_rate=1e-6)
    bare, stock, ours, records = [], [], [], []
    for _ in range(rounds):
        bare.append(bare_loop(new_model(recipe, x), recipe, data, steps))
        clock = Clock()
        stock_fit(new_model(recipe, x), recipe, data, steps, clock)
        stock += clock.step_seconds[1:]  # the first epoch traces
        clock = Clock()
        run(new_model(recipe, x), recipe, data, clock)
        ours += clock.step_seconds[1:]
        records += clock.record_seconds[1:]
    for name, seconds in {"bare loop": bare, "stock fit": stock, "a run's fit": ours}.items():
        show(Figure(f"empty step, {name}", "ms", [1000 * value for value in seconds]))
    show(Figure("curves, history, log and table of an epoch", "s", records))


class PlainModel(SumLossModel):
    """A model that needs no callbacks of its own for its training, as `train` asks of every model."""

    def training_callbacks(self):
        return []


def new_model(recipe, x):
    """A model that costs almost nothing, with the attributes that `training.fit` needs."""
    images = keras.Input((4, 4, 3))
    features = keras.layers.GlobalAveragePooling2D()(Normalization(name="normalize")(images))
    model = PlainModel(images, keras.layers.Dense(10)(features), l2=recipe.l2)
    model.get_layer("normalize").adapt(x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    model.compile(MomentumSGD(recipe.peak_rate), loss, metrics=["accuracy"])
    return model


def bare_loop(model, recipe, data, steps):
    """Median seconds per step without `fit`, of two epochs after one that traces."""
    model.make_train_function()
    batches, found = iter(training.training_data(model, recipe, data)), []
    for _ in range(recipe.epochs):
        begin = time.perf_counter()
        for _ in range(steps):
            logs = model.train_function(batches)
        float(logs["loss"])
        found.append((time.perf_counter() - begin) / steps)
    return statistics.median(found[1:])


def stock_fit(model, recipe, data, steps, clock):
    """The same with `fit` and no callback but the clock."""
    batches = training.training_data(model, recipe, data)
    options = {"validation_data": training.test_dataset(*data[1]), "shuffle": False, "verbose": 0}
    model.fit(batches, epochs=recipe.epochs, steps_per_epoch=steps, **options, callbacks=[clock])


def run(model, recipe, data, clock):
    """The same as a run from the command line, with its table on standard output."""
    with tempfile.TemporaryDirectory() as place, RunFolder.create(Path(place) / "run") as folder:
        folder.write_recipe(recipe, run="loop", **conditions("shapes", data, None, "float32", "as asked"))
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            training.fit(model, recipe, data, folder, [clock], training.RunState())


def starts(count, batch_size):
    """Print the time from the start of a process to its first step, and how much longer that takes than the second."""
    to_first, tracing = [], []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as place:
            code = START.format(batch_size=batch_size, run_dir=str(Path(place) / "run"))
            began = time.time()
            done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        moments = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("moment")]
        first, first_done, second, second_done = moments
        to_first.append(first - began)
        tracing.append((first_done - first) - (second_done - second))
    show(Figure("from the start of Python to the first step", "s", to_first))
    show(Figure("extra time of the first step over the second", "s", tracing))


if __name__ == "__main__":
    main()
