"""Cyclical learning rates."""

from dataclasses import dataclass

import numpy as np

from .schedules import Schedule, float_or_array, positive_number

MODES = ("triangular", "triangular2", "exp_range")


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
