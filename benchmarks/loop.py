"""What `model.fit` and a run's default callbacks cost beside the step, and how soon the first step begins.

    python benchmarks/loop.py

A model whose step costs next to nothing is trained on the same batches in three ways, by turns: by its train function
in a bare loop, by `fit` without callbacks, and as `davidnet_keras.train` does it, with everything that a run has.
Then DavidNet is trained on the embedded data set by a new process, which is stopped after its second step.
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
    """When an epoch's steps began and ended, when its validation was over, when the callbacks before it were done."""

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
    parser.add_argument("--rounds", type=int, default=5, help="times each loop is measured (default: 5)")
    parser.add_argument("--steps", type=int, default=1000, help="steps of an epoch (default: 1000)")
    parser.add_argument("--starts", type=int, default=3, help="processes started (default: 3)")
    parser.add_argument("--batch-size", type=int, default=512, help="pictures of their steps (default: 512)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    loops(arguments.rounds, arguments.steps)
    starts(arguments.starts, arguments.batch_size)


def loops(rounds, steps):
    """Print what a step takes in each loop, and what a run does between two epochs."""
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


def new_model(recipe, x):
    """A model that costs next to nothing, with what `training.fit` looks for."""
    images = keras.Input((4, 4, 3))
    features = keras.layers.GlobalAveragePooling2D()(Normalization(name="normalize")(images))
    model = SumLossModel(images, keras.layers.Dense(10)(features), l2=recipe.l2)
    model.get_layer("normalize").adapt(x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    model.compile(MomentumSGD(recipe.peak_rate), loss, metrics=["accuracy"])
    return model


def bare_loop(model, recipe, data, steps):
    """The median seconds of a step without `fit`, of two epochs after the one that traces."""
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
    """The same by `fit`, without callbacks but the clock."""
    batches = training.training_data(model, recipe, data)
    options = {"validation_data": training.test_dataset(*data[1]), "shuffle": False, "verbose": 0}
    model.fit(batches, epochs=recipe.epochs, steps_per_epoch=steps, **options, callbacks=[clock])


def run(model, recipe, data, clock):
    """The same as a run of the command line, with its table on standard output."""
    with tempfile.TemporaryDirectory() as place, RunFolder.create(Path(place) / "run") as folder:
        folder.write_recipe(recipe, run="loop", **conditions("shapes", data, None, "float32", "as asked"))
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            training.fit(model, recipe, data, folder, [clock], training.RunState())


def starts(count, batch_size):
    """Print how long a new process takes to its first step, and how much longer the first takes than the second."""
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
    show(Figure("what the first step takes longer than the second", "s", tracing))


if __name__ == "__main__":
    main()
