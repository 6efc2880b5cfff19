"""The mean of a few values, and its 95 % interval."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom: NIST/SEMATECH e-Handbook of Statistical
# Methods, table 1.3.6.7.2, column 0.975. One column of a table does not earn SciPy, 35 MB, as a dependency.
_T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class MeanInterval(NamedTuple):
    """A sample's size, mean, standard deviation (n - 1) and 95 % interval of the mean; None where n is 1."""

    n: int
    mean: float
    standard_deviation: float | None
    interval: tuple[float, float] | None

    def __str__(self):
        if self.interval is None:
            return f"{100 * self.mean:.2f} %"
        low, high = self.interval
        return (
            f"{100 * self.mean:.2f} %, standard deviation {100 * self.standard_deviation:.2f} %, "
            f"95 % interval of the mean {100 * low:.2f} to {100 * high:.2f} %"
        )


def mean_interval(values: Sequence[float]) -> MeanInterval:
    """Return mean, standard deviation and 95 % interval of the mean, mean ± t s / √n, of normally distributed values.

    Args:
        values: one or more, independent.
    """
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return MeanInterval(n, mean, None, None)
    deviation = statistics.stdev(values)
    half = t_quantile(n - 1) * deviation / math.sqrt(n)
    return MeanInterval(n, mean, deviation, (mean - half, mean + half))


def t_quantile(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t, to three decimals.

    Source: the table above; beyond it Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5.
    """
    if freedom <= len(_T_95):
        return _T_95[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
