"""Time the train step of each setting of ablation.py, to see what each ingredient of the fast recipe costs.

    python benchmarks/ablation_times.py

In every round, each setting trains a few steps of its own batch size through `model.fit`, augmentation included. All
run in one process, so that changes in the machine's speed favour none. It prints a Markdown table: seconds per thousand
pictures, and their ratio to the whole recipe's in the same round. The pictures are noise and the learning rate is tiny;
neither changes the time. The step is that of the first epochs, in which the first bias is trained. Lookahead, an
average at every fifth step, is left out.
"""

import argparse
import os
import platform
import statistics
import sys

from ablation import FAST, WHOLE, WITHOUT, recipe  # first: it sets up TensorFlow's kernels

import keras  # isort: skip
import numpy as np
import tensorflow as tf
from train_step import StepTimes

from davidnet_keras.models.build import build_model
from davidnet_keras.runs.train import training_data

SETTINGS = [name for name in WITHOUT if "Lookahead" not in name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument(
        "--steps", type=int, default=2, help="timed steps per round, after one warm-up step (default: 2)"
    )
    parser.add_argument("--batch-size", type=int, help="pictures per step (default: the setting's)")
    parser.add_argument("--width", type=int, default=FAST.width, help=f"width of the network (default: {FAST.width})")
    parser.set_defaults(epochs=FAST.epochs, hold_out=0)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (10_000, 32, 32, 3), np.uint8), rng.integers(0, 10, 10_000)
    turns = {name: Turns(name, pictures, options) for name in SETTINGS}
    for number in range(options.rounds + 1):  # the first compiles and is not counted
        for name in SETTINGS:
            turns[name].take(counted=number > 0)
            print(f"round {number}: {name}", file=sys.stderr, flush=True)
    print(table({name: each.seconds for name, each in turns.items()}))
    print(
        f"n = {options.rounds} rounds of {options.steps} steps; float32, {os.cpu_count()} cores, {platform.machine()}, "
        f"tensorflow {tf.__version__}, keras {keras.__version__}"
    )


class Turns:
    """One setting's model, trained a few steps at a time; `seconds` per thousand pictures, the median of each round."""

    def __init__(self, name, pictures, options):
        self.recipe, self.steps, self.seconds = recipe(name, options), options.steps, []
        data = pictures, pictures
        self.model = build_model(self.recipe, pictures[0], precision="float32")
        self.model.optimizer.learning_rate = 1e-6
        self.data = training_data(self.model, self.recipe, data)

    def take(self, counted):
        times = StepTimes()
        steps = self.steps + 1 if counted else 1  # the first waits for its pictures
        self.model.fit(self.data, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[times])
        if counted:
            self.seconds.append(statistics.median(times.seconds[1:]) / self.recipe.batch_size * 1000)


def table(seconds):
    """The settings as a Markdown table, from {setting: seconds per thousand pictures, one value per round}."""
    lines = ["| setting | seconds per thousand pictures | relative to the whole recipe |", "|---|---|---|"]
    for name, rounds in seconds.items():
        ratios = [mine / whole for mine, whole in zip(rounds, seconds[WHOLE], strict=True)]
        spread = "" if name == WHOLE else f" ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(
            f"| {name} | {statistics.median(rounds):.2f} ({min(rounds):.2f} to {max(rounds):.2f}) "
            f"| x {statistics.median(ratios):.2f}{spread} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
