"""The style of all figures: colours for the colour-blind, light axes, labels at the ends of lines."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

# Okabe and Ito, 2008, "Color Universal Design".
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#007A5E"  # the green a shade darker, for text on white
INK, MUTED, GRID = "#222222", "#6B6B6B", "#E4E4E4"
COLORS = (BLUE, VERMILLION, GREEN, "#8F4B8B", "#8A6100", INK)  # of several runs; dark enough for text on white

WIDTH, LEFT, TOP, BOTTOM, GAP = 8.6, 0.8, 0.9, 0.55, 0.55  # inches
RESOLUTION = 150  # dots per inch of a PNG


def stacked_axes(heights, title=None, right=2.05):
    """Make a figure of panels above one another that share the x axis; returns it and the list of its axes.

    `heights`, from the top, and the `right` margin are in inches: nothing jumps when a figure is redrawn.
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
        last = ax is axes[-1]
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.spines["bottom"].set_color(MUTED)
        ax.grid(axis="y", color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(colors=MUTED, labelcolor=INK, labelsize=9, labelbottom=last, left=False)
        ax.tick_params(axis="x", length=3)
        if last:
            ax.set_xlabel("epoch", fontsize=10, color=INK, loc="right", labelpad=2)
    return figure, axes


def name_panel(ax, name):
    """Write the title of a panel above it."""
    # A fixed y spares matplotlib a search; a $ in a metric's name is no formula.
    ax.set_title(name, loc="left", fontsize=10.5, color=INK, pad=7, y=1.0, parse_math=False)


def footnote(figure, text):
    """Write a line of small print below the panels of a figure."""
    at = (LEFT / WIDTH, (BOTTOM - 0.4) / figure.get_figheight())
    figure.text(*at, text, fontsize=8.5, color=MUTED)


def epoch_axis(ax, end, begin=None):
    """Let the x axis run over whole epochs, for a short run from epoch 1: else much of the panel would be empty."""
    ax.set_xlim((1 if 2 <= end < 10 else 0) if begin is None else begin, end)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 4, 5, 10]))


def value_axis(ax, logarithmic, ticks=6):
    """Set the scale and the ticks of the y axis, once its lines are drawn; on a logarithmic one all are positive."""
    if not logarithmic:
        ax.margins(y=0.06)
        ax.yaxis.set_major_locator(MaxNLocator(ticks))
        return
    ax.set_yscale("log")
    ax.autoscale_view()
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def label_line_ends(ax, labels, column=None):
    """Write labels, (x, y, text, colour), to the right of the lines' last points, moved apart where they would overlap.

    With `column`, all stand at this x, and a thin line leads there. The limits of the axes must be final.
    """
    ax.autoscale_view()  # the data limits are worked out lazily, and transData alone does not ask for them
    points_per_dot = 72 / ax.figure.dpi
    bottom, top = ax.bbox.y0 * points_per_dot, ax.bbox.y1 * points_per_dot
    ends = [ax.transData.transform((x, y)) * points_per_dot for x, y, _, _ in labels]
    half_heights = [6.5 * (text.count("\n") + 1) for _, _, text, _ in labels]
    centres = spread([(end[1], half) for end, half in zip(ends, half_heights, strict=True)], bottom, top)
    style = {"va": "center", "fontsize": 9.5, "linespacing": 1.25, "annotation_clip": False, "parse_math": False}
    for (x, y, text, color), end, centre in zip(labels, ends, centres, strict=True):
        away = 0 if column is None else ax.transData.transform((column, y))[0] * points_per_dot - end[0]
        leader = {"arrowstyle": "-", "color": MUTED, "linestyle": ":", "linewidth": 0.8, "relpos": (0, 0.5)}
        at = {"xytext": (away + 9, centre - end[1]), "textcoords": "offset points"}
        ax.annotate(text, (x, y), color=color, arrowprops=leader if away > 1 else None, **at, **style)


def spread(labels, bottom, top):
    """The centres of labels, (centre, half height), moved apart and, if there is room, between `bottom` and `top`."""
    order = sorted(range(len(labels)), key=lambda i: labels[i][0])
    centres = [centre for centre, _ in labels]
    for i in order:  # up from the bottom, then back down from the top
        centres[i] = max(centres[i], bottom + labels[i][1])
        bottom = centres[i] + labels[i][1]
    for i in reversed(order):
        centres[i] = min(centres[i], top - labels[i][1])
        top = centres[i] - labels[i][1]
    return centres
