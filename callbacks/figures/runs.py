"""Draw several runs over one another."""

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..history_file import columns_from, read_history
from ..metric_names import is_accuracy, paired_metrics
from .history import logarithmic_names, panel_name, percent_factor, show, with_epochs
from .style import COLORS, epoch_axis, footnote, label_line_ends, name_panel, stacked_axes, value_axis

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))  # the next one each time the colours are used up
CHARACTER = 0.078  # inches that a letter of a label takes
LONGEST = 26  # letters in a line of a label


def plot_runs(
    runs: str | os.PathLike | Sequence[Any] | Mapping[str, Any],
    metrics: Sequence[str] | None = None,
    title: str | None = None,
    log: str | Sequence[str] = (),
) -> Figure:
    """Draw several runs over one another, one panel per metric; runs with one label become their mean with a band.

    Lines are labelled at their ends with the last value. The band is one standard deviation (n - 1) to either side.
    A mean ends where the first of its runs does.

    Args:
        runs: list of runs, one line each, named after their folders; or a dict `{label: run}`, in which a list of runs
            stands for several seeds of one setting; or a list of `(label, run)` tuples, where a repeated label means
            the same. A run is a folder with a `history.csv`, such a file, a dict of columns, or what `fit` returned.
        metrics: keys of the logs to draw, such as `("val_accuracy", "loss")`. Default: every metric, in validation if
            it was measured there.
        log: which of these to draw on a logarithmic axis; values that are not positive are skipped. Default: none.

    Raises:
        ValueError: no run, one named twice, one that is not a history, or a metric that none of them has.

    Example:
        plot_runs({"cutout": ["runs/1", "runs/2"], "none": ["runs/3", "runs/4"]}).savefig("runs.png")
    """
    groups = _grouped(runs)
    everything = [run for group in groups.values() for run in group]
    if metrics is None:
        found = paired_metrics(dict.fromkeys(key for run in everything for key in run))
        keys = [pair.validation or pair.train for pair in sorted(found, key=lambda pair: not is_accuracy(pair.name))]
    else:
        keys = list(metrics)
    missing = [key for key in keys if not any(key in run for run in everything)]
    if missing or not keys:
        raise ValueError(f"None of the runs has such a metric. Received: metrics={missing}")
    log = logarithmic_names(log, [key.removeprefix("val_") for key in keys])
    labels = {label: textwrap.wrap(label, LONGEST, break_long_words=True) or [""] for label in groups}
    right = 0.3 + CHARACTER * min(LONGEST, max(22, *(len(line) for lines in labels.values() for line in lines)))
    lines = sum(len(lines) + 1 for lines in labels.values())
    figure, axes = stacked_axes([max(2.5, 0.18 * lines)] * len(keys), title, right)
    epoch_axis(axes[0], max(run["epoch"][-1] for run in everything))
    for ax, key in zip(axes, keys, strict=True):
        _draw_runs(ax, key, groups, labels, key.removeprefix("val_") in log)
    if len(everything) > len(groups):
        footnote(figure, "line: mean of n runs; band: ± 1 standard deviation")
    return figure


def _draw_runs(ax, key, groups, labels, logarithmic):
    """One panel: a metric of all runs."""
    name = key.removeprefix("val_")
    name_panel(ax, f"{'validation' if key != name else 'training'} {panel_name(name)}")
    factor = percent_factor(name, [value for group in groups.values() for run in group for value in run.get(key, ())])
    ends = []
    for number, (label, group) in enumerate(groups.items()):
        x, series = _common_epochs(group, key, logarithmic)
        if not x:
            continue
        color = COLORS[number % len(COLORS)]
        dashes = DASHES[number // len(COLORS) % len(DASHES)]
        series, n = factor * series, len(series)
        mean = series.mean(axis=0)
        marker_size = 5 if len(x) <= 3 else 0
        style = {"color": color, "linestyle": dashes, "linewidth": 1.9, "marker": "o", "markersize": marker_size}
        ax.plot(x, mean, clip_on=False, **style)
        text = show(name, mean[-1])
        if n > 1:
            deviation = series.std(axis=0, ddof=1)
            ax.fill_between(x, mean - deviation, mean + deviation, color=color, alpha=0.15, linewidth=0)
            text = f"{show(name, mean[-1], deviation[-1])} (n = {n})"
        ends.append((x[-1], mean[-1], "\n".join([*labels[label], text]), color))
    value_axis(ax, logarithmic and ends)
    label_line_ends(ax, ends, ax.get_xlim()[1])


def _common_epochs(group, key, logarithmic):
    """The epochs for which all runs of a group that have a metric can be drawn, and its values, (run, epoch)."""
    series = [dict(zip(run["epoch"], run[key], strict=True)) for run in group if key in run]
    drawable = [{x for x, y in one.items() if math.isfinite(y) and (y > 0 or not logarithmic)} for one in series]
    x = sorted(set.intersection(*drawable)) if series else []
    return x, np.array([[one[epoch] for epoch in x] for one in series], "float64")


def _grouped(runs):
    """`{label: [columns of each run]}` of whatever `plot_runs` takes."""
    runs = [runs] if isinstance(runs, str | os.PathLike) else runs
    if isinstance(runs, Mapping):
        listed = {label: one if isinstance(one, list | tuple) else [one] for label, one in runs.items()}
        pairs = [(label, run) for label, group in listed.items() for run in group]
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
        kinds = "a folder with a history.csv, such a file, a dict of columns, or what fit returned"
        raise ValueError(f"A run is {kinds}. Received: run={columns!r}")
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
