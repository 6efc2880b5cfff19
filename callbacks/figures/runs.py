"""Draw several runs over one another."""

import math
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..history_file import columns_from, read_history
from ..metric_names import is_accuracy, paired_metrics
from .history import logarithmic_names, panel_name, show, unit, with_epochs
from .style import (
    BLUE,
    BOTTOM,
    GREEN,
    INK,
    LEFT,
    MUTED,
    VERMILLION,
    WIDTH,
    label_line_ends,
    logarithmic_axis,
    name_panel,
    stacked_axes,
)

COLORS = (BLUE, VERMILLION, GREEN, "#8F4B8B", "#8A6100", INK)  # dark enough for text on white
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))  # a new one each time the colours are used up
CHARACTER = 0.078  # inches that a letter of a label takes
LONGEST = 26  # letters in a line of a label


def plot_runs(runs, metrics=None, title=None, log=()):
    """Draw several runs over one another, a panel a metric; runs of one label become their mean with a band.

    Lines are labelled where they end, with the last value. The band is one standard deviation (n - 1) to either side.
    A mean reaches as far as all its runs do.

    Args:
        runs: a list of runs, each with a line of its own, named after its folder; or a dict `{label: run}`, in which a
            list of runs in place of one stands for several seeds of one setting; or a list of `(label, run)` tuples,
            where a label that comes back means the same. A run is a folder with a `history.csv`, such a file, a dict of
            columns, or what `fit` returned.
        metrics: keys of the logs to draw, such as `("val_accuracy", "loss")`. Default: every metric, in validation
            where it was measured.
        title: of the figure. Default: none.
        log: which of these to draw on a logarithmic axis. What is not positive is left out there. Default: none.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: no run, one named twice, one that is no history, or a metric that none has.
        OSError: a history cannot be read.

    Example:
        plot_runs({"cutout": ["runs/1", "runs/2"], "none": ["runs/3", "runs/4"]}).savefig("runs.png")
    """
    groups = grouped(runs)
    keys = list(metrics) if metrics is not None else default_metrics(groups)
    missing = [key for key in keys if not any(key in run for group in groups.values() for run in group)]
    if missing or not keys:
        raise ValueError(f"None of the runs has such a metric. Received: metrics={missing}")
    log = logarithmic_names(log, [key.removeprefix("val_") for key in keys])
    labels = {label: textwrap.wrap(label, LONGEST, break_long_words=True) or [""] for label in groups}
    right = 0.3 + CHARACTER * min(LONGEST, max(len(line) for lines in labels.values() for line in [*lines, " " * 22]))
    lines = sum(len(lines) + 1 for lines in labels.values())
    figure, axes = stacked_axes([max(2.5, 0.18 * lines)] * len(keys), title, right)
    end = max(run["epoch"][-1] for group in groups.values() for run in group)
    axes[0].set_xlim(1 if 2 <= end < 10 else 0, end)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 4, 5, 10]))
    for ax, key in zip(axes, keys, strict=True):
        draw_runs(ax, key, groups, labels, key.removeprefix("val_") in log)
    if any(len(group) > 1 for group in groups.values()):
        at = (LEFT / WIDTH, (BOTTOM - 0.4) / figure.get_figheight())
        figure.text(*at, "line: mean of n runs; band: ± 1 standard deviation", fontsize=8.5, color=MUTED)
    return figure


def draw_runs(ax, key, groups, labels, logarithmic):
    """One panel: a metric of all runs."""
    name = key.removeprefix("val_")
    name_panel(ax, f"{'validation' if key != name else 'training'} {panel_name(name)}")
    values = [value for group in groups.values() for run in group for value in run.get(key, ())]
    factor = 100 if is_accuracy(name) and all(not value > 1 for value in values) else 1
    ends = []
    for number, (label, group) in enumerate(groups.items()):
        x, series = common_epochs(group, key, logarithmic)
        if not x:
            continue
        color = COLORS[number % len(COLORS)]
        style = {"linestyle": DASHES[number // len(COLORS) % len(DASHES)], "linewidth": 1.9, "color": color}
        end = draw_mean(ax, x, factor * series, style)
        ends.append((x[-1], end[0], "\n".join([*labels[label], value_text(name, *end, len(series))]), color))
    if logarithmic and ends:
        logarithmic_axis(ax)
    else:
        ax.margins(y=0.06)
        ax.yaxis.set_major_locator(MaxNLocator(6))
    label_line_ends(ax, ends, ax.get_xlim()[1])


def draw_mean(ax, x, series, style):
    """Draw the mean of (run, epoch) values with its band; returns the last mean and standard deviation."""
    mean = series.mean(axis=0)
    deviation = series.std(axis=0, ddof=1) if len(series) > 1 else np.zeros(len(x))
    ax.plot(x, mean, clip_on=False, marker="o", markersize=5 if len(x) <= 3 else 0, **style)
    if len(series) > 1:
        ax.fill_between(x, mean - deviation, mean + deviation, color=style["color"], alpha=0.15, linewidth=0)
    return mean[-1], deviation[-1]


def value_text(name, mean, deviation, n):
    """The last value of a line, to be read."""
    if n == 1:
        return show(mean, unit(name))
    digits = ".2f" if unit(name) else ".3f" if 1e-3 <= abs(mean) < 1e4 else ".3g"
    return f"{mean:{digits}} ± {deviation:{digits}}{unit(name)} (n = {n})"


def common_epochs(group, key, logarithmic):
    """The epochs in which all runs of a group that have a metric have a value to draw, and these, (run, epoch)."""
    series = [dict(zip(run["epoch"], run[key], strict=True)) for run in group if key in run]
    drawable = [{x for x, y in one.items() if math.isfinite(y) and (y > 0 or not logarithmic)} for one in series]
    x = sorted(set.intersection(*drawable)) if series else []
    return x, np.array([[one[epoch] for epoch in x] for one in series], "float64")


def default_metrics(groups):
    """Every metric, accuracy first: the validation key where any run has it, else the key of training."""
    found = paired_metrics(dict.fromkeys(key for group in groups.values() for run in group for key in run))
    found.sort(key=lambda metric: not is_accuracy(metric.name))
    return [metric.validation or metric.train for metric in found]


def grouped(runs):
    """`{label: [columns of each run]}` of whatever `plot_runs` takes."""
    runs = [runs] if isinstance(runs, str | os.PathLike) else runs
    if isinstance(runs, Mapping):
        pairs = [
            (label, run) for label, one in runs.items() for run in (one if isinstance(one, list | tuple) else [one])
        ]
    else:
        names = iter(distinct_names([run for run in runs if not isinstance(run, tuple)]))
        pairs = [run if isinstance(run, tuple) else (next(names), run) for run in runs]
    paths = [os.path.realpath(os.path.expanduser(run)) for _, run in pairs if isinstance(run, str | os.PathLike)]
    if not pairs or len(set(paths)) < len(paths):
        raise ValueError(f"Name one run or more, each once. Received: runs={[str(run)[:80] for _, run in pairs]}")
    groups = {}
    for label, run in pairs:
        groups.setdefault(str(label), []).append(read_run(run))
    return groups


def read_run(run):
    """The columns of one run: a folder, a CSV file, a dict, or what `fit` returned."""
    columns = columns_from(run)
    if isinstance(columns, str | os.PathLike):
        columns = Path(os.path.expanduser(columns))
        columns = read_history(columns / "history.csv" if columns.is_dir() else columns)
    elif not isinstance(columns, Mapping):
        raise ValueError(
            f"A run is a folder with a history.csv, such a file, a dict of columns, or what fit returned. "
            f"Received: run={columns!r}"
        )
    return with_epochs(columns)


def distinct_names(runs):
    """A name for each run: as many last parts of its folder's path as tell all of them apart."""
    folders = []
    for number, run in enumerate(runs, 1):
        if isinstance(run, str | os.PathLike):
            path = Path(os.path.abspath(os.path.expanduser(run)))
            folders.append((path.parent if path.name == "history.csv" else path.with_suffix("")).parts)
        else:
            folders.append((f"run {number}",))
    for depth in range(1, max(map(len, folders), default=0) + 1):
        names = ["/".join(parts[-depth:]) for parts in folders]
        if len(set(names)) == len(names):
            return names
    return ["/".join(parts) for parts in folders]
