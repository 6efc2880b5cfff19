"""Schedules: pure functions of progress in epochs."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from .arguments import finite_number, finite_numbers, positive_number

MODES = ("triangular", "triangular2", "exp_range")
DECAYS = ("cosine", "linear", "constant")


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


@dataclass(frozen=True)
class Cyclical(Schedule):
    """Up and down between two rates in straight lines, again and again.

    Shapes: a number gives a float; an array gives a float64 array of the same shape.

    Args:
        lowest: the rate at which each cycle begins and ends.
        highest: the rate in the middle of the first cycle.
        half_cycle_epochs: from the lowest rate to the highest, in epochs; the paper's stepsize, for which it advises 2
            to 10 epochs.
        mode: what becomes of the height of the cycles. "triangular": it stays. "triangular2": it halves with every
            cycle. "exp_range": it shrinks by `gamma` with every epoch. Default: "triangular".
        gamma: factor an *epoch*, above 0, at most 1; only for "exp_range". The paper's and torch's gamma g, a factor a
            step, is `g**steps_per_epoch` here. Default: 1.

    Raises:
        ValueError: a lowest rate below 0 or not below the highest, half a cycle that is not positive, another mode, or
            a gamma out of range or without use.

    Example:
        schedule = Cyclical(1e-3, 6e-3, half_cycle_epochs=4, mode="triangular2")
        model.fit(x, y, epochs=24, callbacks=[BatchLearningRateScheduler(schedule)])

    Source: Smith, 2015, "Cyclical Learning Rates for Training Neural Networks"; `torch.optim.lr_scheduler.CyclicLR`.
    """

    lowest: float
    highest: float
    half_cycle_epochs: float
    mode: str = "triangular"
    gamma: float = 1.0

    def __post_init__(self):
        self._become_float("lowest", "highest", "half_cycle_epochs", "gamma")
        if not 0 <= self.lowest < self.highest:
            raise ValueError(
                "The lowest rate must be 0 or more, and below the highest. "
                f"Received: lowest={self.lowest}, highest={self.highest}"
            )
        positive_number("half_cycle_epochs", self.half_cycle_epochs, "Half a cycle")
        if self.mode not in MODES:
            raise ValueError(f"The mode must be one of {', '.join(MODES)}. Received: mode={self.mode!r}")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"Gamma must be above 0, and at most 1. Received: gamma={self.gamma}")
        if self.gamma != 1 and self.mode != "exp_range":
            raise ValueError(f"Gamma only goes with mode='exp_range'. Received: gamma={self.gamma}, mode={self.mode!r}")

    def __call__(self, epoch):
        epoch = np.asarray(epoch, dtype="float64")
        halves = epoch / self.half_cycle_epochs
        cycle = np.floor(halves / 2)  # from 0; the paper counts from 1
        height = 1 - np.abs(halves - 2 * cycle - 1)
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.gamma**epoch}[self.mode]
        return float_or_array(self.lowest + (self.highest - self.lowest) * height * scale)


@dataclass(frozen=True)
class WarmupDecay(Schedule):
    """Straight up to the peak, then down to the end along half a cosine, along a line, or not at all.

    Shapes: a number gives a float; an array gives a float64 array of the same shape.

    Args:
        peak: the rate at the end of the warm-up.
        epochs: length of the whole run, warm-up included, in epochs. After it the rate stays where it is.
        warmup_epochs: length of the warm-up, in epochs. Default: 0.
        decay: "cosine", "linear" or "constant". Default: "cosine".
        initial: the first rate of a warm-up. Default: 0.
        final: the rate at the end of a decay. Default: 0.

    Raises:
        ValueError: a peak or epochs that are not positive, a rate below 0, a warm-up that is negative or not shorter
            than the run, or another decay.

    Example:
        model.fit(x, y, epochs=90, callbacks=[BatchLearningRateScheduler(WarmupDecay(0.1, 90, warmup_epochs=5))])

    Source: the warm-up is that of Goyal et al., 2017, "Accurate, Large Minibatch SGD"; the cosine that of Loshchilov
        and Hutter, 2017, "SGDR", equation 5, and `keras.optimizers.schedules.CosineDecay`.
    """

    peak: float
    epochs: float
    warmup_epochs: float = 0.0
    decay: str = "cosine"
    initial: float = 0.0
    final: float = 0.0

    def __post_init__(self):
        self._become_float("peak", "epochs", "warmup_epochs", "initial", "final")
        positive_number("peak", self.peak, "The peak rate")
        positive_number("epochs", self.epochs, "The length of a run")
        for name in ("initial", "final"):
            if getattr(self, name) < 0:
                raise ValueError(f"A rate must be 0 or more. Received: {name}={getattr(self, name)}")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                "The warm-up must last 0 epochs or more, and less than the run. "
                f"Received: warmup_epochs={self.warmup_epochs}, epochs={self.epochs}"
            )
        if self.decay not in DECAYS:
            raise ValueError(f"The decay must be one of {', '.join(DECAYS)}. Received: decay={self.decay!r}")

    def __call__(self, epoch):
        epoch = np.asarray(epoch, dtype="float64")
        # An empty warm-up is over before the start; the division must not be by its length then.
        risen = np.clip(epoch / self.warmup_epochs, 0, 1) if self.warmup_epochs else np.ones_like(epoch)
        fallen = np.clip((epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs), 0, 1)
        share_left = {
            "cosine": (1 + np.cos(math.pi * fallen)) / 2,
            "linear": 1 - fallen,
            "constant": np.ones_like(epoch),
        }[self.decay]
        rising = self.initial + (self.peak - self.initial) * risen
        falling = self.final + (self.peak - self.final) * share_left
        return float_or_array(np.where(risen < 1, rising, falling))


def plain(value):
    """A NumPy number or string as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def float_or_array(value):
    """A NumPy scalar or array without dimensions as a float; any other array as it is."""
    return float(value) if np.ndim(value) == 0 else value
