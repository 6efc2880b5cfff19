"""Draw the history of a run."""

import math

from matplotlib.ticker import FuncFormatter, MaxNLocator

from .figure_style import BLUE, GREEN, VERMILLION, label_line_ends, name_panel, stacked_axes
from .metric_names import TOP1, is_accuracy, is_loss, paired_metrics

TRAIN = {"color": BLUE, "linestyle": (0, (4, 1.6)), "marker": "o", "linewidth": 1.6, "markeredgecolor": "white"}
VALIDATION = {"color": VERMILLION, "linestyle": "-", "marker": "s", "linewidth": 2.0, "markeredgecolor": "white"}
RATE = {"color": GREEN, "linestyle": "-", "marker": "", "linewidth": 1.8}


def plot_history(history, title=None, epochs=None):
    """Draw training and validation curves: accuracy, loss, any other metric, and the learning rate beneath.

    Lines are labelled where they end, with the last value and the best; blue dashes with dots are training, orange
    lines with squares validation.

    Args:
        history: dict of columns, as `read_history` returns; or what `model.fit` returns. One value an epoch; NaN leaves
            a gap. Without a column `epoch`, epochs count from 1.
        title: of the figure. Default: none.
        epochs: where the x axis ends, for a run that is not over. Default: the last epoch.

    Returns:
        `matplotlib.figure.Figure`. `figure.savefig("curves.png")` saves it; no screen and no pyplot is needed.

    Raises:
        ValueError: there is no metric, no epoch, or columns of different lengths.

    Example:
        plot_history(model.fit(x, y, epochs=3)).savefig("curves.png")
    """
    columns = dict(getattr(history, "history", history))
    metrics = paired_metrics(columns)
    lengths = {len(column) for column in columns.values()}
    if not metrics or len(lengths) != 1 or not max(lengths):
        received = ", ".join(f"{name} ({len(column)})" for name, column in columns.items()) or "nothing"
        raise ValueError(
            "A history to draw needs a metric, an epoch at least, and one value an epoch in every column. "
            f"Received: history with {received}"
        )
    metrics.sort(key=lambda metric: not is_accuracy(metric.name))
    x = list(columns.get("epoch", range(1, max(lengths) + 1)))
    rate = columns.get("learning_rate")
    figure, axes = stacked_axes([2.5] * len(metrics) + [1.0] * (rate is not None), title)
    end = max(epochs or 0, x[-1])
    axes[0].set_xlim(1 if 2 <= end < 10 else 0, end)  # a short run would leave much of the panel empty before epoch 1
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 4, 5, 10]))
    for ax, metric in zip(axes, metrics, strict=False):
        draw_metric(ax, metric, x, columns)
    if rate is not None:
        draw_rate(axes[-1], x, rate)
    return figure


def draw_metric(ax, metric, x, columns):
    """One panel: a metric in training and in validation."""
    name_panel(ax, panel_name(metric.name))
    factor = percent_factor(metric, columns)
    lines = []
    for key, label, style in ((metric.train, "train", TRAIN), (metric.validation, "validation", VALIDATION)):
        if key is None:
            continue
        points = [(epoch, factor * value) for epoch, value in zip(x, columns[key], strict=True) if math.isfinite(value)]
        if not points:
            continue
        ax.plot(*zip(*points, strict=True), markersize=marker_size(len(x)), clip_on=False, **style)
        lines.append((points, label, style["color"]))
        best = best_point(metric, points)
        if label == "validation" and best not in (None, points[-1]):
            ax.plot(*best, "o", markersize=11, fillstyle="none", color=style["color"], alpha=0.6, clip_on=False)
    ax.margins(y=0.06)
    ax.yaxis.set_major_locator(MaxNLocator(6))
    values = [value for points, _, _ in lines for _, value in points]
    if is_loss(metric.name) and values and min(values) >= 0 < max(values):
        ax.set_ylim(0, 1.06 * max(values))
    label_line_ends(ax, [(*points[-1], end_label(metric, label, points), color) for points, label, color in lines])


def draw_rate(ax, x, rate):
    """The panel of the learning rate at the end of each epoch."""
    name_panel(ax, "learning rate")
    ax.plot(x, rate, clip_on=False, markersize=4, **(RATE | ({"marker": "o"} if len(x) == 1 else {})))
    ax.fill_between(x, rate, color=GREEN, alpha=0.12, linewidth=0)
    ax.set_ylim(0, 1.1 * max((value for value in rate if value > 0 and math.isfinite(value)), default=1))
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if math.isfinite(rate[-1]):
        peak = f" (peak {max(rate):.3g})" if max(rate) > rate[-1] else ""
        label_line_ends(ax, [(x[-1], rate[-1], f"{rate[-1]:.3g}{peak}", GREEN)])


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
    values = [value for key in metric[1:] if key for value in columns[key]]
    return 100 if all(not value > 1 for value in values) else 1


def marker_size(epochs):
    """Points large enough to see where they are few, small enough not to hide the line where they are many."""
    return 7 if epochs <= 3 else 5 if epochs <= 40 else 0


def best_point(metric, points):
    """The last (epoch, value) with the highest accuracy or the lowest loss; None for other metrics."""
    if is_loss(metric.name):
        return min(reversed(points), key=lambda point: point[1])
    return max(reversed(points), key=lambda point: point[1]) if is_accuracy(metric.name) else None


def end_label(metric, label, points):
    """Name and last value of a line; in validation also the best value, unless it is the last."""
    unit = " %" if is_accuracy(metric.name) else ""
    text = f"{label} {show(points[-1][1], unit)}"
    best = best_point(metric, points) if label == "validation" else None
    return text if best in (None, points[-1]) else f"{text}\nbest {show(best[1], unit)} (epoch {best[0]})"


def show(value, unit):
    """A value with the digits that matter."""
    return f"{value:.2f}{unit}" if unit else f"{value:.3f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"
