"""Draw the history of a run."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..history_file import columns_from
from ..metric_names import SCHEDULED, TOP1, better, is_accuracy, is_loss, paired_metrics
from .style import BLUE, GREEN, MUTED, VERMILLION, epoch_axis, label_line_ends, name_panel, stacked_axes, value_axis

if TYPE_CHECKING:  # figures are drawn without Keras
    from keras.callbacks import History

TRAIN = {"color": BLUE, "linestyle": (0, (4, 1.6)), "marker": "o", "linewidth": 1.6, "markeredgecolor": "white"}
VALIDATION = {"color": VERMILLION, "linestyle": "-", "marker": "s", "linewidth": 2.0, "markeredgecolor": "white"}
RATE = {"color": GREEN, "linestyle": "-", "marker": "", "linewidth": 1.8}
COMPARED = {"color": MUTED, "linewidth": 1.2, "alpha": 0.75, "zorder": 1.5}  # behind the run itself


def plot_history(
    history: "Mapping[str, Sequence[float]] | History",
    title: str | None = None,
    epochs: int | None = None,
    log: str | Sequence[str] = (),
    compare: "Mapping[str, Sequence[float]] | History | None" = None,
    compare_label: str = "earlier run",
) -> Figure:
    """Draw training and validation curves: accuracy, loss, any other metric, and the learning rate beneath.

    Lines are labelled at their ends with the last value and, if the metric's name tells which way is better, the best.
    Blue dashes with dots are training, orange lines with squares validation, grey ones the run to compare with.

    Args:
        history: dict of columns, as `read_history` returns, or what `model.fit` returned. One value per epoch; NaN is
            skipped. Epochs count from 1 if there is no `epoch` column.
        epochs: where the x axis ends, for an unfinished run. Default: the last epoch.
        log: names of metrics to draw on a logarithmic axis, such as `("loss",)`, or `"learning_rate"`. Values that are
            not positive are skipped there. Default: none.
        compare: another history, drawn beneath in grey under its label. Default: none.

    Raises:
        ValueError: there is no metric, no epoch, columns of different lengths, or no such metric for a log axis.

    Example:
        plot_history(model.fit(x, y, epochs=3), log=("loss",)).savefig("curves.png")
    """
    columns = with_epochs(history)
    other = with_epochs(compare) if compare is not None else {"epoch": [0]}
    metrics = sorted(paired_metrics(columns), key=lambda metric: not is_accuracy(metric.name))
    scheduled = [name for name in SCHEDULED if name in columns]
    log = logarithmic_names(log, [*(metric.name for metric in metrics), *scheduled])
    heights = [2.5 if len(metrics) <= 4 else 1.9] * len(metrics) + [1.0] * len(scheduled)
    figure, axes = stacked_axes(heights, title)
    epoch_axis(axes[0], max(epochs or 0, columns["epoch"][-1], other["epoch"][-1]))
    for ax, metric in zip(axes, metrics, strict=False):
        _draw_metric(ax, metric, columns, other, compare_label, metric.name in log)
    for ax, name in zip(axes[len(metrics) :], scheduled, strict=True):
        _draw_scheduled(ax, name, columns, name in log)
    return figure


def with_epochs(history):
    """A history as a dict of columns with `epoch` among them; ValueError if there is nothing to draw in it."""
    columns = columns_from(history)
    lengths = {len(column) for column in columns.values()}
    if not paired_metrics(columns) or len(lengths) != 1 or not max(lengths):
        received = ", ".join(f"{name} ({len(column)})" for name, column in columns.items()) or "nothing"
        raise ValueError(
            "A history to draw needs at least one metric and one epoch, and one value per epoch in every column. "
            f"Received: history with {received}"
        )
    return {"epoch": range(1, max(lengths) + 1)} | columns


def logarithmic_names(log, names):
    """The metrics to draw on a logarithmic axis; ValueError unless all of them are among `names`."""
    log = {name.removeprefix("val_") for name in ([log] if isinstance(log, str) else log)}
    if not log <= set(names):
        drawn = ", ".join(names)
        raise ValueError(f"Only what is drawn can have a logarithmic axis ({drawn}). Received: log={sorted(log)}")
    return log


def _draw_metric(ax, metric, columns, other, other_label, logarithmic):
    """One panel: a metric in training and in validation, over those of another run."""
    name_panel(ax, panel_name(metric.name))
    keys = [key for key in metric[1:] if key is not None]
    labels, values = [], []
    for key in keys:
        if points := _finite_points(other, key, _factor(metric, other), logarithmic):
            dashes = "-" if key == metric.validation else TRAIN["linestyle"]
            ax.plot(*zip(*points, strict=True), linestyle=dashes, **COMPARED)
            # Validation if there is one.
            labels = [(*points[-1], f"{other_label}: {show(metric.name, points[-1][1])}", MUTED)]
    for key in keys:
        if points := _finite_points(columns, key, _factor(metric, columns), logarithmic):
            labels.append(_draw_line(ax, metric, key, points, len(columns["epoch"])))
            values += [value for _, value in points]
    value_axis(ax, logarithmic and labels)
    if not logarithmic and is_loss(metric.name) and values and min(values) >= 0 < max(values):
        ax.set_ylim(0, 1.06 * max(line.get_ydata().max() for line in ax.lines))
    # Over another run's lines, labels in the middle of the panel would be illegible.
    label_line_ends(ax, labels, ax.get_xlim()[1] if len(other) > 1 else None)


def _draw_line(ax, metric, key, points, epochs):
    """Draw one curve of the run itself, its best value ringed in validation; returns its label."""
    validation = key == metric.validation
    style = VALIDATION if validation else TRAIN
    marker_size = 7 if epochs <= 3 else 5 if epochs <= 40 else 0  # many markers would hide the line
    ax.plot(*zip(*points, strict=True), markersize=marker_size, clip_on=False, **style)
    text = f"{'validation' if validation else 'train'} {show(metric.name, points[-1][1])}"
    choose = better(metric.name) if validation else None
    best = choose(reversed(points), key=lambda point: point[1]) if choose else None  # the last of equals
    if best not in (None, points[-1]):
        ax.plot(*best, "o", markersize=11, fillstyle="none", color=style["color"], alpha=0.6, clip_on=False)
        text += f"\nbest {show(metric.name, best[1])} (epoch {best[0]})"
    return (*points[-1], text, style["color"])


def _draw_scheduled(ax, name, columns, logarithmic):
    """The panel of what a scheduler sets, such as the learning rate, at the end of each epoch."""
    name_panel(ax, name.replace("_", " "))
    points = _finite_points(columns, name, 1, logarithmic)
    if not points:
        return
    x, values = zip(*points, strict=True)
    ax.plot(x, values, clip_on=False, markersize=4, **(RATE | ({"marker": "o"} if len(x) == 1 else {})))
    value_axis(ax, logarithmic, ticks=3)
    if not logarithmic:
        if name == "learning_rate":  # a momentum stays far from 0
            ax.fill_between(x, values, color=GREEN, alpha=0.12, linewidth=0)
            ax.set_ylim(0, 1.1 * max(values) if max(values) > 0 else 1)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    peak = f" (highest {max(values):.3g})" if max(values) > values[-1] else ""
    label_line_ends(ax, [(x[-1], values[-1], f"{values[-1]:.3g}{peak}", GREEN)])


def _finite_points(columns, key, factor, logarithmic):
    """(epoch, value) of a column where it can be drawn; none if there is no such column."""
    pairs = zip(columns["epoch"], columns[key], strict=True) if key in columns else ()
    return [(x, factor * y) for x, y in pairs if math.isfinite(y) and (y > 0 or not logarithmic)]


def _factor(metric, columns):
    return percent_factor(metric.name, [value for key in metric[1:] if key in columns for value in columns[key]])


def percent_factor(name, values):
    """100 for shares, 1 for other metrics and for an accuracy that is in percent already."""
    return 100 if is_accuracy(name) and all(not value > 1 for value in values) else 1


def panel_name(name):
    """The title of a metric's panel."""
    if name in TOP1:
        return "top-1 accuracy (%)"
    return name.replace("_", " ") + (" (%)" if is_accuracy(name) else "")


def show(name, value, deviation=None):
    """A metric's value as text, with the digits that matter, its standard deviation and its unit."""
    digits = ".2f" if is_accuracy(name) else ".3f" if 1e-3 <= abs(value) < 1e4 else ".3g"
    band = "" if deviation is None else f" ± {deviation:{digits}}"
    return f"{value:{digits}}{band}{' %' if is_accuracy(name) else ''}"
