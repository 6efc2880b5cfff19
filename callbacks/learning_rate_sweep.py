"""The result of a sweep over learning rates, and the rates that it suggests."""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import whole_number

if TYPE_CHECKING:  # only a plot needs matplotlib
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LearningRateSweep:
    """The loss at each rate of a sweep, and the rates that it suggests.

    Args:
        rates: the rates, increasing.
        losses: the loss of the batch that was trained on at each rate.
        smoothed_losses: the same, smoothed.
        scale: "exponential" or "linear": how the rates are spaced.

    Attributes:
        suggestions: dict of name -> rate, or `None` if the loss never fell.
            "steepest": where the smoothed loss falls fastest along the axis of the plot.
            "valley": in the middle of the longest descent.
            "minimum/10": a tenth of the rate at the lowest smoothed loss.
            The first tenth of the sweep is left out: the smoothing has not settled there.

    Source: Smith, 2015, "Cyclical Learning Rates"; the names and ideas are those of fastai's `lr_find`, whose valley is
        in the middle of a stretch as long as the longest decreasing subsequence.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed_losses: tuple[float, ...]
    scale: str = "exponential"

    @cached_property
    def suggestions(self) -> dict[str, float | None]:
        skipped = len(self.rates) // 10
        rates, losses = np.array(self.rates[skipped:]), np.array(self.smoothed_losses[skipped:])
        names = ("steepest", "valley", "minimum/10")
        lowest = int(np.argmin(losses)) if len(losses) else 0
        if lowest == 0:
            return dict.fromkeys(names)
        axis = np.log(rates) if self.scale == "exponential" else rates
        # Only on the way down to the minimum: behind it a plunge after a spike would win.
        slopes = np.diff(losses[: lowest + 1]) / np.diff(axis[: lowest + 1])
        found = rates[[int(np.argmin(slopes)), middle_of_longest_descent(losses), lowest]] / (1, 1, 10)
        return dict(zip(names, found.tolist(), strict=True))

    def as_dict(self) -> dict[str, Any]:
        """The sweep as JSON can hold it: `rates`, `losses`, `smoothed_losses`, `scale`, `suggestions`."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return plain | {"suggestions": dict(self.suggestions)}

    def plot(self, title: str | None = None) -> "Figure":
        """`plot_learning_rate_sweep` of this sweep."""
        from .figures.learning_rate import plot_learning_rate_sweep

        return plot_learning_rate_sweep(self, title)


def smoothed(average, value, smoothing, count):
    """One step of an exponential average that starts at 0: the average, and the same without the bias of the start.

    `count` is the number of values, including this one. Source: Kingma and Ba, 2015, "Adam", section 3.
    """
    average = smoothing * average + (1 - smoothing) * value
    return average, average / (1 - smoothing**count)


def middle_of_longest_descent(losses):
    """Index of the middle of the longest decreasing subsequence: on the slope down to the valley, despite noise."""
    length, before = np.ones(len(losses), dtype=int), np.full(len(losses), -1)
    for i in range(1, len(losses)):
        higher = np.flatnonzero(losses[:i] > losses[i])
        if len(higher):
            before[i] = higher[np.argmax(length[higher])]
            length[i] = length[before[i]] + 1
    descent = [int(np.argmax(length))]
    while before[descent[-1]] >= 0:
        descent.append(int(before[descent[-1]]))
    return descent[len(descent) // 2]


def check_sweep(lowest, highest, steps, scale, smoothing, divergence):
    """ValueError unless these are arguments that `LearningRateFinder` can use."""
    if scale not in ("exponential", "linear"):
        raise ValueError(f"The scale must be exponential or linear. Received: scale={scale!r}")
    if not 0 <= lowest < highest < math.inf or (scale == "exponential" and lowest == 0):
        least = "above 0" if scale == "exponential" else "0 or more"
        raise ValueError(f"The rates must increase, from {least}. Received: lowest={lowest}, highest={highest}")
    whole_number("steps", steps, 10)
    if not 0 <= smoothing < 1:
        raise ValueError(f"The smoothing must be at least 0 and below 1. Received: smoothing={smoothing}")
    if not divergence > 1:
        raise ValueError(f"The divergence must be above 1. Received: divergence={divergence}")
