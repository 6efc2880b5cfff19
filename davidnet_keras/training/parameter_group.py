"""Weights that an optimizer trains alike, at a rate and decay of their own."""

import dataclasses
import math
import numbers
import re

from keras import ops

from davidnet_keras.errors import whole_number


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """Weights that are trained alike.

    Args:
        pattern: regular expression, looked for in `variable.path` ("block1/first_norm/beta"). The first group that fits
            a weight counts.
        rate: their learning rate, as a multiple of the optimizer's. Default 1.
        decay: L2 decay, the coefficient of the weight added to its gradient. Default 0.
        fade_steps: int, steps over which the rate goes down to 0 in a straight line, on top of the optimizer's own
            schedule; from then on the weights stay as they are. Default: none.

    Raises:
        ValueError: no regular expression, a rate or decay below 0, a fade of no step.
    """

    pattern: str
    rate: float = 1.0
    decay: float = 0.0
    fade_steps: int | None = None

    def __post_init__(self):
        try:
            re.compile(self.pattern + "")  # text: anything else could not be saved
        except (re.error, TypeError):
            raise ValueError(f"A group's pattern is a regular expression. Received: {self}") from None
        for name in ("rate", "decay"):
            number = getattr(self, name)
            if not (isinstance(number, numbers.Real) and 0 <= number < math.inf):
                raise ValueError(f"A group's rate and decay must be finite numbers of 0 or more. Received: {self}")
            object.__setattr__(self, name, float(number))
        if self.fade_steps is not None:
            object.__setattr__(self, "fade_steps", whole_number("fade_steps", self.fade_steps, 1))

    def scaled(self, learning_rate, iterations):
        """The group's rate at this step, a tensor, from the optimizer's."""
        if self.fade_steps:
            left = 1 - ops.cast(iterations, learning_rate.dtype) / self.fade_steps
            return self.rate * learning_rate * ops.maximum(left, 0)
        return learning_rate if self.rate == 1 else self.rate * learning_rate


def group_of(path, groups):
    """The first group whose pattern is found in a variable's path; None if there is none."""
    return next((group for group in groups if re.search(group.pattern, path)), None)
