"""Draw what a learning-rate finder found."""

import numpy as np

from .figure_style import BLUE, GREEN, INK, MUTED, VERMILLION, name_panel, stacked_axes

MARKS = {"steepest": (BLUE, "o"), "valley": (GREEN, "s"), "minimum/10": (VERMILLION, "D")}


def plot_learning_rate_sweep(sweep, title=None):
    """Draw the loss over the learning rate, raw and smoothed, and mark the suggested rates.

    Args:
        sweep: `LearningRateSweep`.
        title: of the figure. Default: none.

    Returns:
        `matplotlib.figure.Figure`.

    Example:
        plot_learning_rate_sweep(find_learning_rate(model, x, y), title="lr find").savefig("lr_find.png")
    """
    figure, (ax,) = stacked_axes([3.2], title)
    name_panel(ax, "training loss, each batch and smoothed")
    rates, losses = np.array(sweep.rates), np.array(sweep.smoothed_losses)
    ax.plot(rates, sweep.losses, ".", markersize=4, color=MUTED, alpha=0.5, markeredgewidth=0)
    ax.plot(rates, losses, color=INK, linewidth=2)
    if sweep.scale == "exponential":
        ax.set_xscale("log")
    ax.set_xlim(rates[0], rates[-1])
    ax.set_xlabel("learning rate", fontsize=10, color=INK, loc="right", labelpad=2)
    bottom, top = visible_losses(np.array(sweep.losses), losses)
    ax.set_ylim(bottom, top)
    for row, (name, rate) in enumerate(sweep.suggestions.items()):
        if rate is not None:
            mark_rate(ax, name, rate, np.interp(rate, rates, losses), row)
    if all(rate is None for rate in sweep.suggestions.values()):
        ax.annotate("the loss never fell: nothing to suggest", (0.02, 0.06), xycoords="axes fraction", color=MUTED)
    return figure


def mark_rate(ax, name, rate, loss, row):
    """A mark on the curve, a thin line through it, and the name and rate in the right margin."""
    color, marker = MARKS[name]
    ax.plot([rate], [loss], marker, color=color, markersize=8, markeredgecolor="white", zorder=5)
    ax.axvline(rate, color=color, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    height = 0.95 - 0.1 * row
    ax.plot([1.04], [height], marker, color=color, markersize=6, transform=ax.transAxes, clip_on=False)
    text = f"{name}  {rate:.3g}"
    ax.annotate(text, (1.06, height), xycoords="axes fraction", va="center", fontsize=9.5, color=color)


def visible_losses(losses, smoothed):
    """Limits that show the descent: the blow-up at the end may leave the picture."""
    falling = slice(0, int(np.argmin(smoothed)) + 1)
    lowest, highest = float(min(losses[falling].min(), smoothed.min())), float(smoothed[falling].max())
    room = (highest - lowest) or abs(lowest) or 1.0
    return lowest - 0.1 * room, highest + 0.35 * room
