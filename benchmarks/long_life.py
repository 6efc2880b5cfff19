"""Train for many short epochs, and watch memory, open files, the run folder and the time per epoch.

    python benchmarks/long_life.py --epochs 10000 --write docs/results/long-life

Everything is as in any run (`train`, data sets, callbacks, plots, a checkpoint after each epoch), except for a tiny
network and a data set of 8 pictures, so that an epoch takes a fraction of a second.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from davidnet_keras import Recipe, tune_tensorflow
from davidnet_keras.data import shapes

tune_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from davidnet_callbacks import plot_history, read_history  # noqa: E402
from davidnet_keras import Dropout, MomentumSGD, Normalization, SumLossModel  # noqa: E402
from davidnet_keras.models import build  # noqa: E402
from davidnet_keras.runs import train as training  # noqa: E402


class Watch(keras.callbacks.Callback):
    """Record the memory and open files of the process and the size of the run folder every `--every` epochs."""

    def __init__(self, run_dir, every, limit):
        super().__init__()
        self.run_dir, self.every, self.limit = Path(run_dir), every, limit
        self.rows = []

    def on_train_begin(self, logs=None):
        self.began = self.last = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        if now - self.began > self.limit:
            self.model.stop_training = True
        if (epoch + 1) % self.every and not self.model.stop_training:
            return
        files = [path for path in self.run_dir.rglob("*") if path.is_file()]
        epochs = epoch + 1 - (self.rows[-1]["epoch"] if self.rows else 0)
        row = {
            "epoch": epoch + 1,
            "memory_mib": resident_mib(),
            "open_files": len(os.listdir("/proc/self/fd")),
            "folder_files": len(files),
            "folder_kib": sum(path.stat().st_size for path in files) / 1024,
            "seconds_per_epoch": (now - self.last) / epochs,
        }
        self.rows.append(row)
        self.last = now
        print(" ".join(f"{name}={value:.4g}" for name, value in row.items()), flush=True)


class PlainModel(SumLossModel):
    """A model that needs no callbacks of its own for its training, as `train` asks of every model."""

    def training_callbacks(self):
        return []


def tiny_model(recipe, pictures, num_classes, precision):
    """A replacement for DavidNet: its first layer and train step, dropout, and a linear layer on 8 x 8 averages."""
    images = keras.Input((32, 32, 3))
    normalize = Normalization(name="normalize")
    normalize.adapt(pictures)
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(normalize(images)))
    logits = keras.layers.Dense(num_classes)(Dropout(recipe.dropout)(x))
    model = PlainModel(images, logits, l2=recipe.l2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    model.compile(MomentumSGD(recipe.peak_rate, recipe.momentum), loss, metrics=["accuracy"])
    return model


def resident_mib():
    """The resident memory of the process."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def draw(rows):
    """Plot one panel per quantity."""
    figure = Figure((7, 8), layout="constrained")
    panels = {
        "memory_mib": "resident memory (MiB)",
        "open_files": "open files",
        "folder_kib": "run folder (KiB)",
        "seconds_per_epoch": "seconds an epoch",
    }
    axes = figure.subplots(len(panels), 1, sharex=True)
    for ax, (name, title) in zip(axes, panels.items(), strict=True):
        ax.plot([row["epoch"] for row in rows], [row[name] for row in rows])
        ax.set_ylim(bottom=0)
        ax.set_title(title, loc="left", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("epoch")
    return figure


def seconds_to_draw(history):
    """Time drawing and saving the curves of the whole history."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        plot_history(history).savefig(Path(folder) / "curves.png")
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=100, help="epochs between two measurements (default: 100)")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds after which to stop (default: none)")
    parser.add_argument("--write", type=Path, help="folder for the plot and the figures")
    options = parser.parse_args()
    pictures = shapes.load_shapes(train=8, test=8)
    shapes.load_shapes, build.build_model = lambda: pictures, tiny_model
    recipe = Recipe(epochs=options.epochs, batch_size=8, learning_rate=0.01, precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(f"{folder}/run", options.every, options.limit)
        run = training.train(recipe, "shapes", run_dir=watch.run_dir, callbacks=[watch], progress=False)
        history = read_history(run.run_dir / "history.csv")
    short = {name: column[:20] for name, column in history.items()}
    third = watch.rows[len(watch.rows) // 3 :]
    slope = np.polyfit([row["epoch"] for row in third], [row["memory_mib"] for row in third], 1)[0]
    summary = {
        "epochs": len(history["epoch"]),
        "minutes": history["seconds"][-1] / 60,
        "kib_per_epoch_in_the_last_two_thirds": 1024 * slope,
        "seconds_to_draw_20_epochs": seconds_to_draw(short),
        "seconds_to_draw_all_epochs": seconds_to_draw(history),
        "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy", "matplotlib")},
        "python": platform.python_version(),
    }
    print(json.dumps(summary, indent=2))
    if options.write:
        options.write.mkdir(parents=True, exist_ok=True)
        draw(watch.rows).savefig(options.write / "long_life.png", dpi=110)
        (options.write / "long_life.json").write_text(json.dumps({**summary, "rows": watch.rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
