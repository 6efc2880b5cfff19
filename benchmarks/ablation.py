"""Measure what each ingredient of the fast recipe is worth by removing one at a time, with several seeds each.

    python benchmarks/ablation.py --data-dir DIR --output FOLDER               # 12 settings x 2 seeds, 4 epochs
    python benchmarks/ablation.py --dataset shapes --batch-size 100 --hold-out 500 --output FOLDER

Trains on 45,000 training pictures and tests on the other 5,000; the test set is not used. Every setting runs its first
seed before any runs its second. Runs that FOLDER already holds are kept and continued. After each run, the table
`ablation.md` and the plot `ablation.png` are rewritten. Processes with the same FOLDER divide the settings among
themselves; one process per core is faster than one process on all cores:

    for core in 0 1; do taskset -c $core python benchmarks/ablation.py --data-dir DIR --output FOLDER & done; wait
"""

import argparse
import dataclasses
import json
import statistics
from pathlib import Path

from davidnet_keras import tune_tensorflow

tune_tensorflow()

import filelock  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from davidnet_callbacks import Lookahead, atomic_write  # noqa: E402
from davidnet_callbacks.figures.style import BLUE, GRID, VERMILLION  # noqa: E402
from davidnet_keras import RECIPES, resume_runs, train_runs  # noqa: E402
from davidnet_keras.errors import FolderInUse  # noqa: E402
from davidnet_keras.runs.series_folder import SeriesFolder  # noqa: E402

FAST = RECIPES["fast"]
# airbench94's own optimizer settings for batches of 1,024, which Muon replaces; `torch_airbench.py` uses them too.
SGD = {
    "optimizer": "sgd",
    "batch_size": 1024,
    "learning_rate": 1.5,
    "bias_rate": 64 * 1.5,
    "whiten_rate": 1.5,
    "head_rate": 1.5
    * (256 / 9) ** 2,  # its logits are divided by 9, ours by 256; its head starts smaller by that ratio
    "momentum": 0.85,
    "weight_decay": 0.0153 / 11.5,
    "start_rate": 0.2,
    "end_rate": 0.07,
}
WARMUP = 0.23  # of the SGD run's epochs
WITHOUT = {
    "the whole recipe": {},
    "without whitening": {"whitening": False},
    "without identity start": {"identity_start": False},
    "ReLU for hard_gelu": {"activation": "relu"},
    "exact GELU for hard_gelu": {"activation": "gelu"},
    "SGD for Muon": SGD,
    "SGD with Lookahead for Muon": SGD,
    "biases at 1/64 of their rate": {"bias_rate": FAST.bias_rate / 64},
    "without label smoothing": {"label_smoothing": 0.0},
    "random for alternating flip": {"alternating_flip": False},
    "without flip": {"flip": False, "alternating_flip": False},
    "without crop": {"crop_padding": 0},
}
WHOLE = next(iter(WITHOUT))


def lookahead(seed):
    return [Lookahead()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10", help="cifar10, cifar100 or shapes (default: cifar10)")
    parser.add_argument("--data-dir", help="where the data set is, as for python -m davidnet_keras")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each run (default: 4)")
    parser.add_argument("--runs", type=int, default=2, help="seeds of each setting (default: 2)")
    parser.add_argument(
        "--hold-out", type=int, default=5000, help="training pictures to hold out for the test (default: 5000)"
    )
    parser.add_argument("--batch-size", type=int, help="pictures per step (default: the setting's)")
    parser.add_argument("--width", type=int, default=FAST.width, help=f"width of the network (default: {FAST.width})")
    parser.add_argument("--output", type=Path, required=True, help="folder for the runs, the table and the plot")
    options = parser.parse_args()
    for runs in range(1, options.runs + 1):
        for name in WITHOUT:
            try:
                train_setting(name, runs, options)
            except FolderInUse:
                continue  # another process is training it
            with filelock.FileLock(options.output / ".lock"):  # otherwise an older table could overwrite a newer one
                results = {name: made for name in WITHOUT if (made := finished(name, options))}
                if WHOLE in results:  # what the others are compared with
                    write(options, results)


def recipe(name, options):
    """The recipe of a setting."""
    changes = dict(WITHOUT[name])
    if changes.get("optimizer") == "sgd":
        changes["warmup_epochs"] = WARMUP * options.epochs
    if options.batch_size:
        changes["batch_size"] = options.batch_size
    common = {"epochs": options.epochs, "hold_out": options.hold_out, "width": options.width}
    return dataclasses.replace(FAST, **common | changes)


def folder_of(name, options):
    return SeriesFolder(options.output / name.replace("/", "-").replace(" ", "-"))


def train_setting(name, runs, options):
    """Train a setting until it has at least `runs` runs, counting those that exist."""
    folder = folder_of(name, options)
    wanted, callbacks = recipe(name, options), lookahead if "Lookahead" in name else None
    if not folder.exists(folder.path):
        return train_runs(wanted, runs, options.dataset, options.data_dir, folder.path, callbacks)
    begun, plan = folder.read_recipe()
    if begun != wanted or plan["dataset"] != options.dataset:
        raise SystemExit(f"{folder.path} holds runs of other settings; name another --output.")
    return resume_runs(folder.path, options.data_dir, max(runs, plan["runs"]), callbacks)


def finished(name, options):
    """The results of a setting's finished runs, whichever process made them."""
    folder = folder_of(name, options)
    return json.loads(folder.runs.read_text())["results"] if folder.exists(folder.path) else []


def write(options, results):
    """Write the table and the plot of the runs so far, {setting: list of results}."""
    data = f"{options.dataset}, {options.epochs} epochs, tested on {options.hold_out:,} training pictures kept back"
    with atomic_write(options.output / "ablation.md") as temporary:
        temporary.write_text(f"{data}\n\n{table(results)}")
    with atomic_write(options.output / "ablation.png") as temporary:
        picture(results, data).savefig(temporary, dpi=150)


def table(results):
    """The settings as a Markdown table: accuracies, points lost and relative training time against the whole recipe."""
    whole = results[WHOLE]
    lines = ["| setting | 6 views | each run | one view | points lost | training time |", "|---|---|---|---|---|---|"]
    for name, runs in results.items():
        single = " ".join(f"{100 * run['accuracy_views']:.2f}" for run in runs)
        lost = mean(whole, "accuracy_views") - mean(runs, "accuracy_views")
        time = mean(runs, "training_seconds") / mean(whole, "training_seconds")
        lines.append(
            f"| {name} | {100 * mean(runs, 'accuracy_views'):.2f} % | {single} | {100 * mean(runs, 'accuracy'):.2f} % "
            f"| {100 * lost:+.2f} | x {time:.2f} |"
        )
    return "\n".join(lines) + "\n"


def mean(runs, name):
    return statistics.mean(run[name] for run in runs)


def picture(results, data):
    """Plot one row per setting, the worst at the bottom: mean accuracy with six views, and each run as a dot."""
    order = sorted(results, key=lambda name: -mean(results[name], "accuracy_views"))
    figure = Figure(figsize=(8.6, 1.1 + 0.34 * len(order)), layout="constrained")
    axes = figure.add_subplot()
    for row, name in enumerate(order):
        values = [100 * run["accuracy_views"] for run in results[name]]
        color = VERMILLION if name == WHOLE else BLUE
        axes.plot(values, [row] * len(values), "o", color=color, alpha=0.45, markeredgewidth=0)
        axes.plot([statistics.mean(values)] * 2, [row - 0.32, row + 0.32], color=color, linewidth=2.5)
    axes.axvline(100 * mean(results[WHOLE], "accuracy_views"), color=VERMILLION, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(order)), order)
    axes.invert_yaxis()
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_xlabel("accuracy with six views, %; bar: mean, dots: runs")
    figure.suptitle(data, x=0.01, ha="left", fontsize=10.5)
    return figure


if __name__ == "__main__":
    main()
