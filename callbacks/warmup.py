"""Warm up, then decay."""

import math
from dataclasses import dataclass

import numpy as np

from .schedules import Schedule, float_or_array, positive_number

DECAYS = ("cosine", "linear", "constant")


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
