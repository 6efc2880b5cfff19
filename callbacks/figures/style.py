"""How the figures look: colours that the colour-blind can tell apart, light axes, labels at the lines."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

# Okabe and Ito, 2008, "Color Universal Design".
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#007A5E"  # the green a shade darker, for text on white
INK, MUTED, GRID = "#222222", "#6B6B6B", "#E4E4E4"

WIDTH, LEFT, TOP, BOTTOM, GAP = 8.6, 0.8, 0.9, 0.55, 0.55  # inches
RESOLUTION = 150  # dots per inch of a PNG


def stacked_axes(heights, title=None, right=2.05):
    """Make a figure of panels above one another that share the x axis.

    The margins are fixed, in inches, so that nothing jumps from one redrawing to the next.

    Args:
        heights: of the panels, from the top, in inches.
        title: of the figure. Default: none.
        right: margin for labels, in inches.

    Returns:
        (Figure, list of axes).
    """
    top = TOP if title else TOP - 0.45
    height = top + sum(heights) + GAP * (len(heights) - 1) + BOTTOM
    figure = Figure(figsize=(WIDTH, height), dpi=RESOLUTION, facecolor="white")
    if title:
        at = (LEFT / WIDTH, 1 - 0.22 / height)
        figure.text(*at, title, va="top", fontsize=14, fontweight="bold", color=INK, parse_math=False)
    axes, above = [], height - top
    for panel in heights:
        above -= panel
        box = (LEFT / WIDTH, above / height, (WIDTH - LEFT - right) / WIDTH, panel / height)
        axes.append(figure.add_axes(box, sharex=axes[0] if axes else None))
        above -= GAP
    for ax in axes:
        style_axes(ax, last=ax is axes[-1])
    return figure, axes


def style_axes(ax, last):
    """Light horizontal lines, no box; numbers on the x axis of the last panel only."""
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(MUTED)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelcolor=INK, labelsize=9, labelbottom=last, left=False)
    ax.tick_params(axis="x", length=3)
    if last:
        ax.set_xlabel("epoch", fontsize=10, color=INK, loc="right", labelpad=2)


def name_panel(ax, name):
    """Write what a panel shows above it, horizontally."""
    # A fixed y spares matplotlib a search; a metric may have a $ in its name, which is no formula.
    ax.set_title(name, loc="left", fontsize=10.5, color=INK, pad=7, y=1.0, parse_math=False)


def logarithmic_axis(ax):
    """Make the y axis logarithmic, with plain numbers at 1, 2 and 5 of each decade, or at the decades if they are many.

    Args:
        ax: axes whose lines are drawn, all of them positive.
    """
    ax.set_yscale("log")
    ax.autoscale_view()
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def label_line_ends(ax, labels, column=None):
    """Write a label to the right of each line's last point, moved apart where they would overlap.

    Args:
        ax: axes whose limits are final.
        labels: list of (x, y, text, colour).
        column: x at which all labels stand; a thin line leads there from a line that ends before. Default: at the
            lines' own ends.
    """
    ax.autoscale_view()  # the data limits are worked out lazily, and transData alone does not ask for them
    points_per_dot = 72 / ax.figure.dpi
    bottom, top = ax.bbox.y0 * points_per_dot, ax.bbox.y1 * points_per_dot
    ends = [ax.transData.transform((x, y)) * points_per_dot for x, y, _, _ in labels]
    places = []
    for (_, centre), (_, _, text, _) in zip(ends, labels, strict=True):
        places.append((centre, 6.5 * (text.count("\n") + 1)))  # half the height of the lines of text
    for (x, y, text, color), end, moved in zip(labels, ends, spread(places, bottom, top), strict=True):
        away = 0 if column is None else ax.transData.transform((column, y))[0] * points_per_dot - end[0]
        leader = {"arrowstyle": "-", "color": color, "alpha": 0.4, "linewidth": 0.8, "relpos": (0, 0.5)}
        ax.annotate(
            text,
            (x, y),
            xytext=(away + 9, moved - end[1]),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            linespacing=1.25,
            color=color,
            arrowprops=leader if away > 1 else None,
            annotation_clip=False,
            parse_math=False,
        )


def spread(places, bottom, top):
    """Move labels apart, as little as need be.

    Args:
        places: list of (centre, half height).
        bottom, top: where the labels should stay, if there is room.

    Returns:
        List of centres.
    """
    order = sorted(range(len(places)), key=lambda i: places[i][0])
    centres = [centre for centre, _ in places]
    floor, ceiling = bottom, top
    for i in order:  # up from the bottom, then back down from the top
        centres[i] = max(centres[i], floor + places[i][1])
        floor = centres[i] + places[i][1]
    for i in reversed(order):
        centres[i] = min(centres[i], ceiling - places[i][1])
        ceiling = centres[i] - places[i][1]
    return centres
