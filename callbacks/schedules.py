"""Schedules: pure functions of progress in epochs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from .arguments import finite_number, positive_number


class Schedule:
    """A schedule can be turned into a config that JSON can hold, and back."""

    def _hold_as_floats(self, *names):
        for name in names:
            object.__setattr__(self, name, finite_number(name, getattr(self, name)))

    def get_config(self) -> dict[str, Any]:
        """The arguments, as plain numbers, strings and lists."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The schedule whose `get_config` returned `config`."""
        return cls(**config)


@dataclass(frozen=True)
class Piecewise(Schedule):
    """Knots and the value at each of them; a subclass says what lies between."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        for name, numbers in list(vars(self).items()):
            try:
                object.__setattr__(self, name, tuple(finite_number(name, number) for number in numbers))
            except TypeError:
                raise ValueError(f"A schedule needs a sequence of numbers. Received: {name}={numbers!r}") from None
        if not self.knots or len(self.knots) != len(self.values):
            received = f"knots={self.knots}, values={self.values}"
            raise ValueError(
                f"A piecewise schedule needs at least one knot, and one value for each. Received: {received}"
            )
        if any(b <= a for a, b in pairwise(self.knots)):
            jump = "for a jump, set two knots a thousandth of an epoch apart"
            raise ValueError(f"The knots must increase; {jump}. Received: knots={self.knots}")


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
        PiecewiseLinear((0, 5, 24), (0.0, 0.1, 0.0))(2.5)  # 0.05: warm up, then decay

    Source: the semantics are those of `numpy.interp`.
    """

    def __call__(self, epoch: float | np.ndarray) -> Any:
        return _float_or_array(np.interp(np.asarray(epoch), self.knots, self.values))


@dataclass(frozen=True)
class PiecewiseCosine(Piecewise):
    """Half a cosine wave between every two knots, level at both; constant before the first and after the last.

    Shapes, Args, Raises: as `PiecewiseLinear`.

    Example:
        PiecewiseCosine((0, 10), (0.1, 0.0))(5)  # 0.05: annealed to 0 over ten epochs

    Source: Loshchilov and Hutter, 2017, "SGDR", equation 5; torch's `OneCycleLR`; fastai's `fit_one_cycle`.
    """

    def __call__(self, epoch: float | np.ndarray) -> Any:
        values = np.asarray(self.values)
        position = np.interp(
            np.asarray(epoch), self.knots, np.arange(len(values))
        )  # 1.25: a quarter of the way from knot 1 to 2
        before = np.floor(position).astype(int)
        after = np.minimum(before + 1, len(values) - 1)
        share = (1 - np.cos(np.pi * (position - before))) / 2
        return _float_or_array(values[before] + (values[after] - values[before]) * share)


@dataclass(frozen=True)
class Cyclical(Schedule):
    """Up and down between two rates in straight lines, again and again.

    Shapes, as everywhere: a number gives a float, an array a float64 array of the same shape.

    Args:
        lowest: the rate at which each cycle begins and ends.
        highest: the rate in the middle of the first cycle.
        half_cycle_epochs: from the lowest rate to the highest, in epochs; the paper's stepsize, 2 to 10 epochs.
        mode: the amplitude of the cycles. "triangular": constant. "triangular2": halved with every cycle.
            "exp_range": multiplied by `gamma` with every epoch. Default: "triangular".
        gamma: factor per *epoch*, above 0, at most 1; only for "exp_range". The paper's and torch's gamma g, a factor
            per step, is `g**steps_per_epoch` here. Default: 1.

    Raises:
        ValueError: an argument out of range, another mode, or a gamma without effect.

    Example:
        schedule = Cyclical(1e-3, 6e-3, half_cycle_epochs=4, mode="triangular2")

    Source: Smith, 2015, "Cyclical Learning Rates for Training Neural Networks"; `torch.optim.lr_scheduler.CyclicLR`.
    """

    lowest: float
    highest: float
    half_cycle_epochs: float
    mode: str = "triangular"
    gamma: float = 1.0

    def __post_init__(self):
        self._hold_as_floats("lowest", "highest", "half_cycle_epochs", "gamma")
        if not 0 <= self.lowest < self.highest:
            received = f"lowest={self.lowest}, highest={self.highest}"
            raise ValueError(f"The lowest rate must be 0 or more, and below the highest. Received: {received}")
        positive_number("half_cycle_epochs", self.half_cycle_epochs, "Half a cycle")
        if self.mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(f"The mode is triangular, triangular2 or exp_range. Received: mode={self.mode!r}")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"Gamma must be above 0, and at most 1. Received: gamma={self.gamma}")
        if self.gamma != 1 and self.mode != "exp_range":
            raise ValueError(f"Gamma only goes with mode='exp_range'. Received: gamma={self.gamma}, mode={self.mode!r}")

    def __call__(self, epoch: float | np.ndarray) -> Any:
        epoch = np.asarray(epoch, dtype="float64")
        halves = epoch / self.half_cycle_epochs
        cycle = np.floor(halves / 2)  # from 0; the paper counts from 1
        share = 1 - np.abs(halves - 2 * cycle - 1)
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.gamma**epoch}[self.mode]
        return _float_or_array(self.lowest + (self.highest - self.lowest) * share * scale)


@dataclass(frozen=True)
class WarmupDecay(Schedule):
    """Straight up to the peak, then down to the end along half a cosine, along a line, or not at all.

    Shapes: a number gives a float; an array gives a float64 array of the same shape.

    Args:
        peak: the rate at the end of the warm-up.
        epochs: length of the whole run, warm-up included, in epochs. Later the rate stays constant.
        warmup_epochs: length of the warm-up, in epochs. Default: 0.
        decay: "cosine", "linear" or "constant". Default: "cosine".
        initial, final: the rates at the start of a warm-up and at the end of a decay. Default: 0.

    Raises:
        ValueError: an argument out of range, or another decay.

    Example:
        model.fit(x, y, epochs=90, callbacks=[BatchLearningRateScheduler(WarmupDecay(0.1, 90, warmup_epochs=5))])

    Source: Goyal et al., 2017, "Accurate, Large Minibatch SGD" (warm-up); Loshchilov and Hutter, 2017, "SGDR" (cosine).
    """

    peak: float
    epochs: float
    warmup_epochs: float = 0.0
    decay: str = "cosine"
    initial: float = 0.0
    final: float = 0.0

    def __post_init__(self):
        self._hold_as_floats("peak", "epochs", "warmup_epochs", "initial", "final")
        positive_number("peak", self.peak, "The peak rate")
        positive_number("epochs", self.epochs, "The length of a run")
        if min(self.initial, self.final) < 0:
            raise ValueError(f"Rates must be 0 or more. Received: initial={self.initial}, final={self.final}")
        if not 0 <= self.warmup_epochs < self.epochs:
            received = f"warmup_epochs={self.warmup_epochs}, epochs={self.epochs}"
            raise ValueError(f"The warm-up must last 0 epochs or more, and less than the run. Received: {received}")
        if self.decay not in ("cosine", "linear", "constant"):
            raise ValueError(f"The decay is cosine, linear or constant. Received: decay={self.decay!r}")

    def __call__(self, epoch: float | np.ndarray) -> Any:
        epoch = np.asarray(epoch, dtype="float64")
        # An empty warm-up has no length to divide by.
        risen = np.clip(epoch / self.warmup_epochs, 0, 1) if self.warmup_epochs else np.ones_like(epoch)
        fallen = np.clip((epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs), 0, 1)
        left: Any = {"cosine": (1 + np.cos(math.pi * fallen)) / 2, "linear": 1 - fallen, "constant": 1.0}[self.decay]
        rising = self.initial + (self.peak - self.initial) * risen
        return _float_or_array(np.where(risen < 1, rising, self.final + (self.peak - self.final) * left))


def _float_or_array(value):
    return float(value) if np.ndim(value) == 0 else value
