"""Learning-rate schedules: pure functions of progress in epochs."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class PiecewiseLinear:
    """Straight lines between knots, constant before the first and after the last.

    Shapes: a number gives a float; an array gives a float64 array of the same shape.

    Args:
        knots: increasing sequence of progress, in epochs.
        values: the rate at each knot.

    Raises:
        ValueError: not as many values as knots, no knot, knots that do not increase, or a number that is not finite.

    Example:
        warm_up_then_decay = PiecewiseLinear((0, 5, 24), (0.0, 0.1, 0.0))
        warm_up_then_decay(2.5)  # 0.05

    Source: the semantics are those of `numpy.interp`.
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        object.__setattr__(self, "knots", finite_numbers("knots", self.knots))
        object.__setattr__(self, "values", finite_numbers("values", self.values))
        if not self.knots or len(self.knots) != len(self.values):
            raise ValueError(
                "A piecewise linear schedule needs one value for each knot, and at least one. "
                f"Received: knots={self.knots}, values={self.values}"
            )
        if any(b <= a for a, b in pairwise(self.knots)):
            raise ValueError(
                "The knots must increase; for a jump, set two knots a thousandth of an epoch apart. "
                f"Received: knots={self.knots}"
            )

    def __call__(self, epoch):
        rate = np.interp(epoch, self.knots, self.values)
        return float(rate) if np.ndim(rate) == 0 else rate

    def get_config(self):
        """The arguments, as plain lists that JSON can hold."""
        return {name: list(value) for name, value in asdict(self).items()}

    @classmethod
    def from_config(cls, config):
        """The schedule whose `get_config` gave `config`."""
        return cls(**config)


def one_cycle_triangle(peak, epochs, warmup_epochs=None):
    """Make the schedule 0 -> `peak` -> 0: straight up during the warm-up, straight down to the end.

    Args:
        peak: the highest rate.
        epochs: length of the whole run, in epochs.
        warmup_epochs: when the peak is reached, in epochs. 0 starts at the peak; `epochs` never comes down. Default:
            max(1, (epochs + 1) // 5), but at most half of the run, so that a run of one epoch comes down too.

    Returns:
        `PiecewiseLinear`.

    Raises:
        ValueError: a peak or epochs that are not positive, or a warm-up that is negative or longer than the run.

    Source: the reference notebook's schedule, with knots 0, (epochs + 1) // 5, epochs; Smith and Topin, 2017,
        "Super-Convergence".
    """
    peak = finite_number("peak", peak)
    epochs = finite_number("epochs", epochs)
    if peak <= 0:
        raise ValueError(f"The peak rate must be positive. Received: peak={peak}")
    if epochs <= 0:
        raise ValueError(f"A run must have a positive number of epochs. Received: epochs={epochs}")
    if warmup_epochs is None:
        warmup_epochs = min(max(1, (epochs + 1) // 5), epochs / 2)
    warmup = finite_number("warmup_epochs", warmup_epochs)
    if not 0 <= warmup <= epochs:
        raise ValueError(
            "The warm-up must last between 0 epochs and the whole run; lower it or train for longer. "
            f"Received: warmup_epochs={warmup}, epochs={epochs}"
        )
    if warmup == 0:
        return PiecewiseLinear((0, epochs), (peak, 0))
    if warmup == epochs:
        return PiecewiseLinear((0, epochs), (0, peak))
    return PiecewiseLinear((0, warmup, epochs), (0, peak, 0))


def finite_numbers(name, values):
    """A sequence as a tuple of floats; ValueError if it is none, or if one of its members is no finite number."""
    try:
        return tuple(finite_number(name, value) for value in values)
    except TypeError:
        raise ValueError(f"A schedule needs a sequence of numbers here. Received: {name}={values!r}") from None


def finite_number(name, value):
    """`value` as a float; ValueError if it is no finite number."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"A schedule is made of finite numbers. Received: {name}={value!r}")
    return number
