"""Schedules between knots: pure functions of progress in epochs."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np


class Schedule:
    """What the schedules share: they come out of a config that JSON can hold as they went in."""

    def _become_float(self, *names):
        """Hold these arguments as Python floats; ValueError if one is no finite number."""
        for name in names:
            object.__setattr__(self, name, finite_number(name, getattr(self, name)))

    def get_config(self):
        """The arguments, as plain numbers, strings and lists."""
        return {name: list(value) if isinstance(value, tuple) else plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_config(cls, config):
        """The schedule whose `get_config` gave `config`."""
        return cls(**config)


@dataclass(frozen=True)
class Piecewise(Schedule):
    """Knots and the value at each of them; what lies between is for subclasses to say."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        object.__setattr__(self, "knots", finite_numbers("knots", self.knots))
        object.__setattr__(self, "values", finite_numbers("values", self.values))
        if not self.knots or len(self.knots) != len(self.values):
            raise ValueError(
                "A piecewise schedule needs one value for each knot, and at least one. "
                f"Received: knots={self.knots}, values={self.values}"
            )
        if any(b <= a for a, b in pairwise(self.knots)):
            raise ValueError(
                "The knots must increase; for a jump, set two knots a thousandth of an epoch apart. "
                f"Received: knots={self.knots}"
            )


@dataclass(frozen=True)
class PiecewiseLinear(Piecewise):
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

    def __call__(self, epoch):
        return float_or_array(np.interp(epoch, self.knots, self.values))


@dataclass(frozen=True)
class PiecewiseCosine(Piecewise):
    """Half a cosine wave between each two knots, level at both; constant before the first and after the last.

    Shapes: a number gives a float; an array gives a float64 array of the same shape.

    Args:
        knots: increasing sequence of progress, in epochs.
        values: the rate at each knot.

    Raises:
        ValueError: as `PiecewiseLinear` does.

    Example:
        PiecewiseCosine((0, 10), (0.1, 0.0))(5)  # 0.05: annealed to 0 over ten epochs

    Source: Loshchilov and Hutter, 2017, "SGDR", equation 5; the shape of torch's `OneCycleLR` and fastai's
        `fit_one_cycle`.
    """

    def __call__(self, epoch):
        values = np.asarray(self.values)
        place = np.interp(epoch, self.knots, np.arange(len(values)))  # 1.25: a quarter of the way from knot 1 to 2
        before = np.floor(place).astype(int)
        after = np.minimum(before + 1, len(values) - 1)
        share = (1 - np.cos(np.pi * (place - before))) / 2
        return float_or_array(values[before] + (values[after] - values[before]) * share)


def plain(value):
    """A NumPy number or string as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def float_or_array(value):
    """A NumPy scalar or array without dimensions as a float; any other array as it is."""
    return float(value) if np.ndim(value) == 0 else value


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


def positive_number(name, value, meaning):
    """`value` as a float; ValueError that opens with `meaning` if it is not above 0."""
    number = finite_number(name, value)
    if number <= 0:
        raise ValueError(f"{meaning} must be positive. Received: {name}={number}")
    return number
