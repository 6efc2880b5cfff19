"""The mean of a few values, and its 95 % interval."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class MeanInterval(NamedTuple):
    """A sample's size, mean, standard deviation (n - 1) and 95 % interval of the mean; None where n is 1."""

    n: int
    mean: float
    standard_deviation: float | None
    interval: tuple[float, float] | None

    def __str__(self):
        if self.interval is None:
            return f"{100 * self.mean:.2f} %"
        low, high = (100 * end for end in self.interval)
        return (
            f"{100 * self.mean:.2f} %, standard deviation {100 * self.standard_deviation:.2f} %, "
            f"95 % interval of the mean {low:.2f} to {high:.2f} %"
        )


def mean_interval(values: Sequence[float]) -> MeanInterval:
    """Return the mean of independent, normally distributed values with its 95 % interval, by Student's t."""
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return MeanInterval(n, mean, None, None)
    from scipy import stats  # here: it takes a second to import

    deviation = statistics.stdev(values)
    half = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return MeanInterval(n, mean, deviation, (mean - half, mean + half))
