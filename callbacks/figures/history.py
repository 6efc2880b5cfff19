"""Draw the history of a run."""

import math

from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..history_file import columns_from
from ..metric_names import SCHEDULED, TOP1, better, is_accuracy, is_loss, paired_metrics
from .style import (
    BLUE,
    GREEN,
    MUTED,
    VERMILLION,
    label_line_ends,
    logarithmic_axis,
    name_panel,
    stacked_axes,
)

TRAIN = {"color": BLUE, "linestyle": (0, (4, 1.6)), "marker": "o", "linewidth": 1.6, "markeredgecolor": "white"}
VALIDATION = {"color": VERMILLION, "linestyle": "-", "marker": "s", "linewidth": 2.0, "markeredgecolor": "white"}
RATE = {"color": GREEN, "linestyle": "-", "marker": "", "linewidth": 1.8}
COMPARED = {"color": MUTED, "linewidth": 1.2, "alpha": 0.75, "zorder": 1.5}  # behind the run itself


def plot_history(history, title=None, epochs=None, log=(), compare=None, compare_label="earlier run"):
    """Draw training and validation curves: accuracy, loss, any other metric, and the learning rate beneath.

    Lines are labelled where they end, with the last value and, where a name tells which way is better, the best; blue
    dashes with dots are training, orange lines with squares validation, grey ones the run to compare with.

    Args:
        history: dict of columns, as `read_history` returns; or what `model.fit` returns. One value an epoch; NaN is
            left out, and the line goes on to the next value. Without epochs of its own, they count from 1.
        title: of the figure. Default: none.
        epochs: where the x axis ends, for a run that is not over. Default: the last epoch.
        log: names of metrics to draw on a logarithmic axis, such as `("loss",)`; `"learning_rate"` is one too. What is
            not positive is left out there. Default: none.
        compare: another history, drawn beneath in grey. Default: none.
        compare_label: what to call it.

    Returns:
        `matplotlib.figure.Figure`. `figure.savefig("curves.png")` saves it; no screen and no pyplot is needed.

    Raises:
        ValueError: there is no metric, no epoch, columns of different lengths, or no such metric for a log axis.

    Example:
        plot_history(model.fit(x, y, epochs=3), log=("loss",)).savefig("curves.png")
    """
    columns = with_epochs(history)
    other = with_epochs(compare) if compare is not None else {"epoch": [0]}
    metrics = paired_metrics(columns)
    metrics.sort(key=lambda metric: not is_accuracy(metric.name))
    scheduled = [name for name in SCHEDULED if name in columns]
    log = logarithmic_names(log, [*(metric.name for metric in metrics), *scheduled])
    height = 2.5 if len(metrics) <= 4 else 1.9
    figure, axes = stacked_axes([height] * len(metrics) + [1.0] * len(scheduled), title)
    end = max(epochs or 0, columns["epoch"][-1], other["epoch"][-1])
    axes[0].set_xlim(1 if 2 <= end < 10 else 0, end)  # a short run would leave much of the panel empty before epoch 1
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 4, 5, 10]))
    for ax, metric in zip(axes, metrics, strict=False):
        draw_metric(ax, metric, columns, other, compare_label, metric.name in log)
    for ax, name in zip(axes[len(metrics) :], scheduled, strict=True):
        draw_scheduled(ax, name, columns["epoch"], columns[name], name in log)
    return figure


def with_epochs(history):
    """A history as a dict of columns with `epoch` among them; ValueError if there is nothing to draw in it."""
    columns = columns_from(history)
    lengths = {len(column) for column in columns.values()}
    if not paired_metrics(columns) or len(lengths) != 1 or not max(lengths):
        received = ", ".join(f"{name} ({len(column)})" for name, column in columns.items()) or "nothing"
        raise ValueError(
            "A history to draw needs a metric, an epoch at least, and one value an epoch in every column. "
            f"Received: history with {received}"
        )
    return {"epoch": range(1, max(lengths) + 1)} | columns


def logarithmic_names(log, names):
    """The metrics to draw on a logarithmic axis; ValueError unless all of them are among `names`."""
    log = {name.removeprefix("val_") for name in ([log] if isinstance(log, str) else log)}
    if not log <= set(names):
        raise ValueError(
            f"Only what is drawn can have a logarithmic axis ({', '.join(names)}). Received: log={sorted(log)}"
        )
    return log


def draw_metric(ax, metric, columns, other, other_label, logarithmic=False):
    """One panel: a metric in training and in validation, over those of another run."""
    name_panel(ax, panel_name(metric.name))
    factor = percent_factor(metric, columns)
    keys = [key for key in metric[1:] if key is not None]
    labels = []
    for key in keys:
        points = finite_points(other, key, percent_factor(metric, other), logarithmic)
        if points:
            ax.plot(
                *zip(*points, strict=True), linestyle="-" if key == metric.validation else (0, (4, 1.6)), **COMPARED
            )
            labels = [
                (*points[-1], f"{other_label}: {last_value(metric, points)}", MUTED)
            ]  # validation if there is one
    values = []
    for key in keys:
        points = finite_points(columns, key, factor, logarithmic)
        if points:
            labels.append(draw_line(ax, metric, key, points, len(columns["epoch"])))
            values += [value for _, value in points]
    if logarithmic and labels:
        logarithmic_axis(ax)
    else:
        ax.margins(y=0.06)
        ax.yaxis.set_major_locator(MaxNLocator(6))
        if is_loss(metric.name) and values and min(values) >= 0 < max(values):
            top = max(line.get_ydata().max() for line in ax.lines)
            ax.set_ylim(0, 1.06 * top)
    # Over another run's lines, labels in the middle of the panel could not be read.
    label_line_ends(ax, labels, ax.get_xlim()[1] if len(other) > 1 else None)


def draw_line(ax, metric, key, points, epochs):
    """Draw one curve of the run itself, its best value ringed in validation; returns its label."""
    validation = key == metric.validation
    style = VALIDATION if validation else TRAIN
    ax.plot(*zip(*points, strict=True), markersize=marker_size(epochs), clip_on=False, **style)
    text = f"{'validation' if validation else 'train'} {last_value(metric, points)}"
    best = best_point(metric, points) if validation else None
    if best not in (None, points[-1]):
        ax.plot(*best, "o", markersize=11, fillstyle="none", color=style["color"], alpha=0.6, clip_on=False)
        text += f"\nbest {show(best[1], unit(metric.name))} (epoch {best[0]})"
    return (*points[-1], text, style["color"])


def draw_scheduled(ax, name, x, values, logarithmic=False):
    """The panel of what a scheduler sets, such as the learning rate, at the end of each epoch."""
    name_panel(ax, name.replace("_", " "))
    points = finite_points({"epoch": x, name: values}, name, 1, logarithmic)
    if not points:
        return
    x, values = zip(*points, strict=True)
    ax.plot(x, values, clip_on=False, markersize=4, **(RATE | ({"marker": "o"} if len(x) == 1 else {})))
    if logarithmic:
        logarithmic_axis(ax)
    else:
        if name == "learning_rate":  # a momentum stays far from 0
            ax.fill_between(x, values, color=GREEN, alpha=0.12, linewidth=0)
            ax.set_ylim(0, 1.1 * max(values) if max(values) > 0 else 1)
        ax.yaxis.set_major_locator(MaxNLocator(3))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    peak = f" (peak {max(values):.3g})" if max(values) > values[-1] else ""
    label_line_ends(ax, [(x[-1], values[-1], f"{values[-1]:.3g}{peak}", GREEN)])


def finite_points(columns, key, factor, logarithmic):
    """(epoch, value) of a column where it can be drawn; none if there is no such column."""
    pairs = zip(columns["epoch"], columns[key], strict=True) if key in columns else ()
    return [(x, factor * y) for x, y in pairs if math.isfinite(y) and (y > 0 or not logarithmic)]


def panel_name(name):
    """What stands above a panel."""
    words = name.replace("_", " ")
    if is_accuracy(name):
        return "top-1 accuracy (%)" if name in TOP1 else f"{words} (%)"
    return words


def percent_factor(metric, columns):
    """100 for shares, 1 for other metrics and for an accuracy that is in percent already."""
    if not is_accuracy(metric.name):
        return 1
    values = [value for key in metric[1:] if key in columns for value in columns[key]]
    return 100 if all(not value > 1 for value in values) else 1


def marker_size(epochs):
    """Points large enough to see where they are few, small enough not to hide the line where they are many."""
    return 7 if epochs <= 3 else 5 if epochs <= 40 else 0


def best_point(metric, points):
    """The last (epoch, value) with the best value; None where the metric's name does not tell which that is."""
    choose = better(metric.name)
    return choose(reversed(points), key=lambda point: point[1]) if choose else None


def last_value(metric, points):
    """The last value of a line, to be read."""
    return show(points[-1][1], unit(metric.name))


def unit(name):
    """What stands behind a metric's values."""
    return " %" if is_accuracy(name) else ""


def show(value, unit):
    """A value with the digits that matter."""
    return f"{value:.2f}{unit}" if unit else f"{value:.3f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"
