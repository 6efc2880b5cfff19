"""What a sweep over learning rates found, and what it suggests."""

import math
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from .arguments import whole_number

SCALES = ("exponential", "linear")


@dataclass(frozen=True)
class LearningRateSweep:
    """The loss at each rate of a sweep, and the rates that it suggests.

    Args:
        rates: the rates, increasing.
        losses: the loss of the batch that was trained on at each rate.
        smoothed_losses: the same, smoothed.
        scale: "exponential" or "linear": how the rates are spaced.

    Attributes:
        suggestions: dict of name -> rate. `None` instead of a rate where the loss never fell.
            "steepest": where the smoothed loss falls fastest along the axis of the plot.
            "valley": in the middle of the longest descent.
            "minimum/10": a tenth of the rate at the lowest smoothed loss.
            The first tenth of the sweep is left out: the smoothing has not settled there.

    Example:
        sweep = find_learning_rate(model, x, y)
        sweep.suggestions["valley"]
        sweep.plot().savefig("lr_find.png")

    Source: Smith, 2015, "Cyclical Learning Rates"; the names and ideas are those of fastai's `lr_find`.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed_losses: tuple[float, ...]
    scale: str = "exponential"

    @cached_property
    def suggestions(self):
        skipped = len(self.rates) // 10
        rates, losses = np.array(self.rates[skipped:]), np.array(self.smoothed_losses[skipped:])
        names = ("steepest", "valley", "minimum/10")
        lowest = int(np.argmin(losses)) if len(losses) else 0
        if lowest == 0:
            return dict.fromkeys(names)
        axis = np.log(rates) if self.scale == "exponential" else rates
        # Only on the way down to the minimum: behind it a plunge after a spike would win.
        slopes = np.diff(losses[: lowest + 1]) / np.diff(axis[: lowest + 1])
        places = int(np.argmin(slopes)), middle_of_longest_descent(losses), lowest
        found = rates[list(places)] / (1, 1, 10)
        return dict(zip(names, found.tolist(), strict=True))

    def as_dict(self):
        """What JSON can hold: `rates`, `losses`, `smoothed_losses`, `scale`, `suggestions`."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return plain | {"suggestions": dict(self.suggestions)}

    def plot(self, title=None):
        """`plot_learning_rate_sweep` of this sweep."""
        from .figures.learning_rate import plot_learning_rate_sweep  # matplotlib only when it is needed

        return plot_learning_rate_sweep(self, title)


def smoothed(average, value, smoothing, count):
    """One step of an exponential average that starts at 0, and the average without the bias of that start.

    Args:
        average: what the last step returned first, 0.0 at the beginning.
        value: the new value.
        smoothing: share of the old average that is kept, in [0, 1).
        count: how many values there are, this one included.

    Returns:
        (average to hand in next time, unbiased average).

    Source: Kingma and Ba, 2015, "Adam", section 3.
    """
    average = smoothing * average + (1 - smoothing) * value
    return average, average / (1 - smoothing**count)


def middle_of_longest_descent(losses):
    """Index of the middle of the longest decreasing subsequence: the slope down to the valley, whatever its noise.

    Source: the "valley" of fastai's `lr_find`, which takes the middle of the stretch as long as that subsequence.
    """
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
    if scale not in SCALES:
        raise ValueError(f"The scale must be one of {', '.join(SCALES)}. Received: scale={scale!r}")
    if not 0 <= lowest < highest < math.inf or (scale == "exponential" and lowest == 0):
        raise ValueError(
            "The rates must increase, from 0 or more, and from above 0 on the exponential scale. "
            f"Received: lowest={lowest}, highest={highest}"
        )
    whole_number("steps", steps, 10)
    if not 0 <= smoothing < 1:
        raise ValueError(f"The smoothing must be at least 0 and below 1. Received: smoothing={smoothing}")
    if not divergence > 1:
        raise ValueError(f"The divergence must be above 1. Received: divergence={divergence}")
