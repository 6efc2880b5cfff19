"""Draw a learning-rate schedule."""

from matplotlib.ticker import FuncFormatter, MaxNLocator

from .figure_style import GREEN, name_panel, stacked_axes

MOST_POINTS = 5000  # more than a figure has columns of dots


def plot_schedule(schedule, epochs, steps_per_epoch, title=None):
    """Draw the learning rate of every batch of a run.

    Args:
        schedule: function of progress in epochs (float) that returns the rate.
        epochs: length of the run.
        steps_per_epoch: batches an epoch.
        title: of the figure. Default: none.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: a run of no batches.

    Example:
        plot_schedule(one_cycle_triangle(0.4, 24), 24, 98).savefig("lr.png")
    """
    if not (epochs > 0 and steps_per_epoch > 0):
        raise ValueError(
            f"A schedule is drawn over one batch or more. Received: epochs={epochs}, steps_per_epoch={steps_per_epoch}"
        )
    batches = round(epochs * steps_per_epoch)
    stride = -(-batches // MOST_POINTS)
    x = [batch / steps_per_epoch for batch in [*range(0, batches, stride), batches]]
    rates = [float(schedule(progress)) for progress in x]
    figure, (ax,) = stacked_axes([2.6], title, right=0.4)
    name_panel(ax, "learning rate")
    ax.plot(x, rates, color=GREEN, linewidth=2, clip_on=False)
    ax.fill_between(x, rates, color=GREEN, alpha=0.12, linewidth=0)
    top = max(rates)
    ax.set_xlim(0, epochs)
    ax.set_ylim(0, 1.15 * top if top > 0 else 1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 4, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    peak = x[rates.index(top)]
    text = f"peak {top:.4g} after {peak:.3g} {'epoch' if peak == 1 else 'epochs'}"
    side = "left" if peak < epochs / 2 else "right"
    ax.annotate(text, (peak, top), (0, 6), textcoords="offset points", ha=side, fontsize=9.5, color=GREEN)
    return figure
