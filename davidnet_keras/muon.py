"""Muon for the kernels of convolutions, Nesterov momentum for the rest, each group of weights at a rate of its own."""

import dataclasses
import re

import keras
from keras import ops

from davidnet_keras.optimizer import MomentumSGD

# A quintic whose slope at 0 is as steep as can be; it takes singular values of any size to about 0.7 to 1.2.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """Weights that are trained alike.

    Args:
        pattern: regular expression, looked for in `variable.path` ("block1/first_norm/beta"). The first group that fits
            a weight counts.
        rate: their learning rate, as a multiple of the optimizer's. Default 1.
        decay: L2 decay, the coefficient of the weight added to its gradient. Default 0.
        fade_steps: int, steps over which the rate goes down to 0, in a straight line on top of the optimizer's own
            schedule; the weights then stay as they are. Default: none.
    """

    pattern: str
    rate: float = 1.0
    decay: float = 0.0
    fade_steps: int | None = None

    def __post_init__(self):
        re.compile(self.pattern)
        if not (self.rate >= 0 and self.decay >= 0):
            raise ValueError(f"A group's rate and decay must be 0 or more. Received: {self}")
        if self.fade_steps is not None and self.fade_steps < 1:
            raise ValueError(f"A group's rate fades over one step or more. Received: {self}")


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Muon(MomentumSGD):
    """Orthogonal updates for the kernels of convolutions, Nesterov momentum for everything else.

    For a kernel `w` of shape (rows, columns, in, out) with gradient `g`, as matrices (rows x columns x in, out):

        velocity <- momentum * velocity + g
        w        <- w * sqrt(out) / ||w||
        w        <- w - learning_rate * orthogonal(g + momentum * velocity)

    where `orthogonal` takes all singular values to about 1, by `newton_schulz_steps` of a matrix polynomial. So the
    size of the gradient does not matter, and neither does a scale of the loss. Everything else moves as by
    `MomentumSGD`, with a momentum, rate and decay of its group. There is one `learning_rate` for all, of which the
    groups take multiples, so that schedules, finders and logs work as with any optimizer:
    `keras.optimizers.MultiOptimizer`, which could join two optimizers, has none that a callback could set.
    `keras.optimizers.Muon` leaves kernels of convolutions to AdamW.

    Args:
        learning_rate: float, of the kernels. Default 0.24.
        momentum: float in [0, 1), of the kernels. Default 0.6.
        groups: `ParameterGroup`s of the other weights. One that fits no group has rate 1 and no decay. Default: none.
        sgd_momentum: float in [0, 1), of the other weights. Default 0.85.
        newton_schulz_steps: int. Default 3.
        **kwargs: as `MomentumSGD`'s.

    Raises:
        ValueError: a momentum outside [0, 1), fewer than one step, a group that does not fit.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), and their
    cifar10-airbench, `airbench94_muon.py`, for the normalised kernels and the constants.
    """

    def __init__(self, learning_rate=0.24, momentum=0.6, groups=(), sgd_momentum=0.85, newton_schulz_steps=3, **kwargs):
        super().__init__(learning_rate, momentum, **kwargs)
        if not 0 <= sgd_momentum < 1:
            raise ValueError(f"Momentum must be at least 0 and below 1. Received: sgd_momentum={sgd_momentum}")
        if newton_schulz_steps < 1:
            raise ValueError(f"Muon takes one step or more. Received: newton_schulz_steps={newton_schulz_steps}")
        self.groups = [ParameterGroup(**group) if isinstance(group, dict) else group for group in groups]
        self.sgd_momentum = float(sgd_momentum)
        self.newton_schulz_steps = newton_schulz_steps

    def build(self, variables):
        """Create one velocity per variable, and find each one's group."""
        if not self.built:
            self._group_of = [self._find_group(variable.path) for variable in variables]
        super().build(variables)

    def _find_group(self, path):
        return next((group for group in self.groups if re.search(group.pattern, path)), ParameterGroup(""))

    def update_step(self, gradient, variable, learning_rate):
        """Move one variable by one step."""
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        if len(variable.shape) == 4:
            return self._orthogonal_step(gradient, variable, rate)
        group = self._group_of[self._get_variable_index(variable)]
        if group.fade_steps:
            done = ops.cast(self.iterations, variable.dtype) / group.fade_steps
            rate = rate * ops.maximum(1 - done, 0)
        direction = self._direction(gradient + group.decay * variable, variable, self.sgd_momentum)
        self.assign_sub(variable, group.rate * rate * direction)

    def _orthogonal_step(self, gradient, kernel, rate):
        direction = self._direction(gradient, kernel, ops.cast(self._momentum, kernel.dtype))
        matrix = ops.reshape(direction, (-1, kernel.shape[-1]))
        update = ops.reshape(orthogonal(matrix, self.newton_schulz_steps), kernel.shape)
        norm = ops.sqrt(ops.sum(ops.square(kernel)))
        self.assign(kernel, kernel * (kernel.shape[-1] ** 0.5 / norm) - rate * update)

    def _direction(self, gradient, variable, momentum):
        """The velocity brought up to date, and Nesterov's look ahead along it."""
        velocity = self.velocities[self._get_variable_index(variable)]
        new_velocity = momentum * velocity + gradient
        self.assign(velocity, new_velocity)
        return gradient + momentum * new_velocity if self.nesterov else new_velocity

    def get_config(self):
        return super().get_config() | {
            "groups": [dataclasses.asdict(group) for group in self.groups],
            "sgd_momentum": self.sgd_momentum,
            "newton_schulz_steps": self.newton_schulz_steps,
        }


def orthogonal(matrix, steps):
    """About the nearest matrix with orthonormal rows or columns: U V^T of the singular value decomposition U S V^T.

    Shapes: (rows, columns) -> the same.
    """
    a, b, c = NEWTON_SCHULZ
    matrix = matrix / (ops.sqrt(ops.sum(ops.square(matrix))) + 1e-7)  # no singular value above 1
    wide = matrix.shape[0] < matrix.shape[1]
    for _ in range(steps):  # on the smaller side's products
        products = ops.matmul(matrix, ops.transpose(matrix)) if wide else ops.matmul(ops.transpose(matrix), matrix)
        polynomial = b * products + c * ops.matmul(products, products)
        matrix = a * matrix + (ops.matmul(polynomial, matrix) if wide else ops.matmul(matrix, polynomial))
    return matrix
