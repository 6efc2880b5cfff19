"""Time that is spent training: without validation, and with all that was sent to the device."""

import math
from time import perf_counter

import keras


class TrainingClock:
    """Adds up the seconds between `start` and `stop`.

    Args:
        seconds: where it starts.

    Attributes:
        seconds: the sum.
        last: the seconds of the last interval.
    """

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.last = 0.0
        self._start = None

    def start(self, earlier=0.0):
        """Begin an interval, as an epoch does, or go on with one that has taken so many seconds already."""
        self._start = perf_counter() - earlier

    def so_far(self):
        """The sum, with what has passed of an interval that is running."""
        return self.seconds + (0.0 if self._start is None else perf_counter() - self._start)

    def stop(self, model):
        """End the interval, if one is running, once `model` has taken the steps that it was sent.

        Returns:
            Whether one was running.
        """
        if self._start is None:
            return False
        wait_for_steps(model)
        self.last = perf_counter() - self._start
        self.seconds += self.last
        self._start = None
        return True


def wait_for_steps(model):
    """Return when the model's last step is done.

    fit hands steps over faster than a GPU, or JAX anywhere, works them off. Reading a weight waits for the step that
    last changed it.
    """
    weights = model.trainable_variables
    if weights:
        keras.ops.convert_to_numpy(min(weights, key=lambda weight: math.prod(weight.shape)))
