"""Draw how a classifier did: its confusion matrix and its worst mistakes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea

from .style import BLUE, GRID, INK, MUTED, RESOLUTION, VERMILLION

MANY = 20  # classes: with more, cells are too small for numbers
COLUMNS = 8  # of mistakes


def plot_confusion(confusion: np.ndarray, names: Sequence[str], title: str | None = None) -> Figure:
    """Draw a confusion matrix with the recall of each row and the precision of each column.

    Right answers are blue, mistakes orange. A cell's colour is its share of the row; for mistakes the square root of
    it, so that even a single one shows.

    Args:
        confusion: int (classes, classes): how many examples of the true class, the row, got the answer of the column.
            More than 20 classes are drawn without numbers.
        names: of the classes; an underscore is drawn as a space.
        title: of the figure. Default: none.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: the matrix does not have a row and a column for each name.

    Example:
        plot_confusion(np.array([[9, 1], [2, 8]]), ["cat", "dog"]).savefig("confusion.png")
    """
    confusion, count = np.asarray(confusion), len(names)
    if not count or confusion.shape != (count, count):
        raise ValueError(
            "A confusion matrix has a row and a column for each class name. "
            f"Received: confusion.shape={confusion.shape}, len(names)={count}"
        )
    many = count > MANY
    side = count * (0.125 if many else 0.5)  # inches
    left, right, top, bottom = 1.15, 0.85, 1.75 if title else 1.45, 0.6
    width, height = left + side + right, top + side + bottom
    figure = Figure(figsize=(width, height), dpi=RESOLUTION, facecolor="white")
    ax = figure.add_axes((left / width, bottom / height, side / width, side / height))
    colors = _cell_colors(confusion)
    ax.imshow(colors, interpolation="nearest", aspect="auto")
    if not many:
        _write_counts(ax, confusion, colors)
    _label_classes(ax, confusion, names, many)
    if title:
        _write_title(figure, 0.25 / width, 1 - 0.25 / height, title)
    legend = "Rows: true class. Columns: the model's answer. Blue: right. Orange: wrong."
    figure.text(0.25 / width, 1 - (top - 1.2) / height, legend, va="top", fontsize=9.5, color=MUTED)
    return figure


def plot_mistakes(
    mistakes: Sequence[tuple[np.ndarray, str, str, float]], total: int | None = None, tested: str = "the test pictures"
) -> Figure:
    """Draw wrongly classified pictures, each with its true class, the model's answer and its probability.

    Args:
        mistakes: (picture, true class, predicted class, probability) of each, the surest first. A picture is uint8 or
            float in [0, 1], (height, width, 3), or grey, (height, width) or (height, width, 1).
        total: number of mistakes, of which these are drawn. Default: no more than these.
        tested: what was tested, for the title, such as "1,000 test pictures".

    Returns:
        `matplotlib.figure.Figure`.

    Example:
        plot_mistakes([(picture, "cat", "dog", 0.93)], total=17, tested="1,000 pictures").savefig("mistakes.png")
    """
    cell, text_height, margin, top = 1.28, 0.46, 0.25, 0.95  # inches
    rows = -(-len(mistakes) // COLUMNS)
    width, height = 2 * margin + COLUMNS * cell, top + rows * (cell + text_height) + (margin if rows else 0)
    figure = Figure(figsize=(width, height), dpi=RESOLUTION, facecolor="white")
    title = _mistakes_title(len(mistakes), len(mistakes) if total is None else total, tested)
    _write_title(figure, margin / width, 1 - 0.25 / height, title)
    if mistakes:
        _write_legend(figure, margin / width, 1 - 0.64 / height)
    for i, (picture, true, predicted, probability) in enumerate(mistakes):
        x = margin + i % COLUMNS * cell
        y = height - top - i // COLUMNS * (cell + text_height) - cell
        inner = cell - 0.18
        ax = figure.add_axes((x / width, y / height, inner / width, inner / height))
        ax.imshow(picture, cmap="gray", interpolation="nearest")
        ax.set_axis_off()
        for line, text, color in ((0, true, INK), (1, f"{predicted} {100 * probability:.0f} %", VERMILLION)):
            _write_below(figure, (x + inner / 2) / width, (y - 0.05 - 0.15 * line) / height, text, color)
    return figure


def _write_title(figure, x, y, title):
    figure.text(x, y, title, va="top", fontsize=13, fontweight="bold", color=INK, parse_math=False)


def _cell_colors(confusion):
    """RGB (classes, classes, 3): white to blue on the diagonal, white to orange elsewhere."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(confusion), dtype=bool)
    strength = np.where(diagonal, shares, np.sqrt(shares))[..., None]
    full = np.where(diagonal[..., None], to_rgb(BLUE), to_rgb(VERMILLION))
    return 1 - strength * (1 - full)


def _write_counts(ax, confusion, colors):
    """The number of pictures in every cell that has any, in white where the cell is dark."""
    dark = colors @ (0.299, 0.587, 0.114) < 0.6
    for row, column in zip(*np.nonzero(confusion), strict=True):
        color = "white" if dark[row, column] else INK
        text = f"{confusion[row, column]}"
        ax.text(column, row, text, ha="center", va="center_baseline", fontsize=8.5, color=color)


def _label_classes(ax, confusion, names, many):
    """Names along both sides, recall to the right of each row, precision below each column; thin lines between."""
    count, size = len(names), 5.5 if many else 9.5
    labels = [name.replace("_", " ") for name in names]
    ax.set_yticks(range(count), labels, fontsize=size, color=INK, parse_math=False)
    ax.set_xticks(range(count), labels, fontsize=size, color=INK, parse_math=False, rotation=90)
    ax.tick_params(length=0, pad=4, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_color(GRID)
    for line in (ax.axhline, ax.axvline):
        for i in range(1, count):
            line(i - 0.5, color=GRID, linewidth=0.3 if many else 0.8)
    totals = zip(confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1), strict=True)
    for i, (right, called, n) in enumerate(totals):
        style = {"fontsize": size - (0.5 if many else 1), "color": MUTED, "clip_on": False}
        beyond = count - 0.5 + 0.015 * count
        ax.text(beyond, i, _percent(right, n), va="center_baseline", **style)
        ax.text(i, beyond, _percent(right, called), ha="center", va="top", rotation=90 if many else 0, **style)
    note = {"fontsize": 9, "color": MUTED, "xycoords": "axes points", "annotation_clip": False}
    points = count * (0.125 if many else 0.5) * 72
    ax.annotate("recall", (points + 7, points + 6), va="bottom", **note)
    ax.annotate("precision", (-6, -12), ha="right", va="center", **note)


def _percent(part, whole):
    return f"{100 * part / whole:.0f} %" if whole else "-"


def _write_below(figure, x, y, text, color):
    text = text.replace("_", " ")
    figure.text(x, y, text, ha="center", va="top", fontsize=7.8, color=color, parse_math=False)


def _mistakes_title(drawn, total, tested):
    if not total:
        return f"No mistake in {tested}"
    which = "The only mistake" if total == 1 else f"All {total} mistakes" if drawn == total else f"The {drawn} surest"
    return which + (f" in {tested}" if drawn == total else f" of {total:,} mistakes in {tested}")


def _write_legend(figure, x, y):
    """Explain the two lines below each picture, in their colours."""
    parts = [("the true class", INK), (", ", MUTED), ("the model's answer and its probability", VERMILLION)]
    words = [TextArea(text, textprops={"color": color, "fontsize": 9.5}) for text, color in parts]
    packed = HPacker(children=words, pad=0, sep=0)
    box = AnnotationBbox(packed, (x, y), xycoords="figure fraction", box_alignment=(0, 0.5), frameon=False, pad=0)
    figure.add_artist(box)
