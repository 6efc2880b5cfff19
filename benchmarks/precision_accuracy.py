"""Measure whether bfloat16 costs accuracy: a shortened reference recipe in bfloat16 and float32, several seeds each.

    python benchmarks/precision_accuracy.py --data-dir DIR --output runs.jsonl

Trains on 10,000 of CIFAR-10's training pictures and tests each finished model on 10,000 others of them, never on the
test set. The precisions alternate, with the same seeds. Each finished run adds a line to the file; runs that the file
already holds are not repeated. At the end it prints the mean, standard deviation and 95 % interval of each precision
and of the differences between runs with the same seed.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

from davidnet_keras import tune_tensorflow

tune_tensorflow()

from davidnet_callbacks import OneCycleTriangle  # noqa: E402
from davidnet_keras import RECIPES, load_cifar10, steps_per_epoch, test_dataset  # noqa: E402
from davidnet_keras.data.datasets import held_out  # noqa: E402
from davidnet_keras.models.build import new_model  # noqa: E402
from davidnet_keras.runs.mean_interval import mean_interval  # noqa: E402
from davidnet_keras.runs.train import training_data  # noqa: E402

PRECISIONS = ("mixed_bfloat16", "float32")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="where CIFAR-10 is, as for python -m davidnet_keras")
    parser.add_argument("--output", type=Path, required=True, help="file for the runs, one JSON object per line")
    parser.add_argument(
        "--pictures", type=int, default=10_000, help="pictures to train on, and as many to test on (default: 10000)"
    )
    parser.add_argument("--epochs", type=int, default=6, help="epochs of each run (default: 6)")
    parser.add_argument("--runs", type=int, default=3, help="seeds of each precision (default: 3)")
    options = parser.parse_args()
    everything = load_cifar10(options.data_dir)
    data = held_out(everything, len(everything[0][0]) - options.pictures)
    data = data[0], tuple(array[: options.pictures] for array in data[1])
    lines = options.output.read_text().splitlines() if options.output.exists() else []
    job = {"pictures": options.pictures, "epochs": options.epochs}
    runs = [run for run in map(json.loads, lines) if job.items() <= run.items()]  # runs of other jobs stay in the file
    done = {(run["precision"], run["seed"]): run for run in runs}
    for seed in range(options.runs):
        for precision in PRECISIONS:
            if (precision, seed) in done:
                continue
            run = done[precision, seed] = job | train(precision, seed, options.epochs, data)
            with options.output.open("a") as file:
                print(json.dumps(run), file=file)
            print(run, flush=True)
    report({precision: [done[precision, seed]["accuracy"] for seed in range(options.runs)] for precision in PRECISIONS})


def train(precision, seed, epochs, data):
    """One run's precision, seed, accuracy on the held-out pictures (0 to 1), and seconds of training."""
    recipe = dataclasses.replace(RECIPES["davidnet"], epochs=epochs, seed=seed)
    model = new_model(recipe, 10, data, precision)
    begin = time.perf_counter()
    model.fit(
        training_data(model, recipe, data),
        epochs=recipe.epochs,
        steps_per_epoch=steps_per_epoch(len(data[0][0]), recipe.batch_size),
        shuffle=False,
        verbose=0,
        callbacks=[OneCycleTriangle(recipe.peak_rate)],
    )
    seconds = time.perf_counter() - begin
    accuracy = model.evaluate(test_dataset(*data[1]), verbose=0, return_dict=True)["accuracy"]
    return {"precision": precision, "seed": seed, "accuracy": accuracy, "training_seconds": round(seconds, 1)}


def report(accuracies):
    """Print the statistics of each precision, and of the differences seed by seed."""
    bfloat16, float32 = (accuracies[precision] for precision in PRECISIONS)
    differences = [half - full for half, full in zip(bfloat16, float32, strict=True)]
    for name, values in (*accuracies.items(), ("difference", differences)):
        n, mean, deviation, interval = mean_interval([100 * value for value in values])
        spread = ""
        if n > 1:
            spread = f", standard deviation {deviation:.2f}, 95 % interval {interval[0]:.2f} to {interval[1]:.2f}"
        print(f"{name}: {mean:.2f} % (n = {n}{spread})")


if __name__ == "__main__":
    main()
