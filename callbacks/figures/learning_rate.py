"""Draw learning rates: a schedule, and the result of a sweep."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .style import BLUE, GREEN, INK, MUTED, VERMILLION, epoch_axis, name_panel, stacked_axes

MOST_POINTS = 5000  # more than a figure has columns of dots
MARKS = {"steepest": (BLUE, "o"), "valley": (GREEN, "s"), "minimum/10": (VERMILLION, "D")}


def plot_schedule(
    schedule: Callable[[float], float], epochs: float, steps_per_epoch: int, title: str | None = None
) -> Figure:
    """Draw the learning rate of every batch of a run.

    Args:
        schedule: function of progress in epochs (float) that returns the rate.
        epochs: length of the run.
        steps_per_epoch: batches per epoch.

    Raises:
        ValueError: a run of no batches.

    Example:
        plot_schedule(one_cycle_triangle(0.4, 24), 24, 98).savefig("lr.png")
    """
    if not (epochs > 0 and steps_per_epoch > 0):
        received = f"epochs={epochs}, steps_per_epoch={steps_per_epoch}"
        raise ValueError(f"A schedule is drawn over one batch or more. Received: {received}")
    batches = round(epochs * steps_per_epoch)
    stride = -(-batches // MOST_POINTS)
    x = [batch / steps_per_epoch for batch in [*range(0, batches, stride), batches]]
    rates = [float(schedule(progress)) for progress in x]
    figure, (ax,) = stacked_axes([2.6], title, right=0.4)
    name_panel(ax, "learning rate")
    ax.plot(x, rates, color=GREEN, linewidth=2, clip_on=False)
    ax.fill_between(x, rates, color=GREEN, alpha=0.12, linewidth=0)
    top = max(rates)
    epoch_axis(ax, epochs, begin=0)
    ax.set_ylim(0, 1.15 * top if top > 0 else 1)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    peak = x[rates.index(top)]
    text = f"peak {top:.4g} after {peak:.3g} {'epoch' if peak == 1 else 'epochs'}"
    side = "left" if peak < epochs / 2 else "right"
    ax.annotate(text, (peak, top), (0, 6), textcoords="offset points", ha=side, fontsize=9.5, color=GREEN)
    return figure


def plot_learning_rate_sweep(sweep: Any, title: str | None = None) -> Figure:
    """Draw the loss over the learning rate, raw and smoothed, and mark the suggested rates.

    Example:
        plot_learning_rate_sweep(find_learning_rate(model, x, y), title="lr find").savefig("lr_find.png")
    """
    figure, (ax,) = stacked_axes([3.2], title)
    name_panel(ax, "training loss, each batch and smoothed")
    rates, raw, smoothed = map(np.array, (sweep.rates, sweep.losses, sweep.smoothed_losses))
    ax.plot(rates, raw, ".", markersize=4, color=MUTED, alpha=0.5, markeredgewidth=0)
    ax.plot(rates, smoothed, color=INK, linewidth=2)
    if sweep.scale == "exponential":
        ax.set_xscale("log")
    ax.set_xlim(rates[0], rates[-1])
    ax.set_xlabel("learning rate", fontsize=10, color=INK, loc="right", labelpad=2)
    falling = slice(0, int(np.argmin(smoothed)) + 1)  # the divergence at the end may leave the picture
    lowest, highest = float(min(raw[falling].min(), smoothed.min())), float(smoothed[falling].max())
    room = (highest - lowest) or abs(lowest) or 1.0
    ax.set_ylim(lowest - 0.1 * room, highest + 0.35 * room)
    for row, (name, rate) in enumerate(sweep.suggestions.items()):
        if rate is not None:
            _mark_rate(ax, name, rate, np.interp(rate, rates, smoothed), row)
    if all(rate is None for rate in sweep.suggestions.values()):
        ax.annotate("the loss never fell: nothing to suggest", (0.02, 0.06), xycoords="axes fraction", color=MUTED)
    return figure


def _mark_rate(ax, name, rate, loss, row):
    """A mark on the curve, a thin line through it, and the name and rate in the right margin."""
    color, marker = MARKS[name]
    ax.plot([rate], [loss], marker, color=color, markersize=8, markeredgecolor="white", zorder=5)
    ax.axvline(rate, color=color, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    y = 0.95 - 0.1 * row
    ax.plot([1.04], [y], marker, color=color, markersize=6, transform=ax.transAxes, clip_on=False)
    text = f"{name}  {rate:.3g}"
    ax.annotate(text, (1.06, y), xycoords="axes fraction", va="center", fontsize=9.5, color=color)
