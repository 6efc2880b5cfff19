"""Optimizers whose groups of weights have rates of their own: Nesterov momentum, and Muon for convolutions."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from davidnet_keras.errors import number, whole_number

PRODUCTS = (None, "bfloat16", "float16", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """Weights that are trained alike; ValueError for values that make no sense.

    Args:
        pattern: regular expression, searched in `variable.path` ("block1/first_norm/beta"); the first group counts.
        rate: their learning rate, as a multiple of the optimizer's.
        decay: L2 decay, the coefficient of the weight added to its gradient.
        fade_steps: steps over which the rate falls to 0 in a straight line, on top of the optimizer's own schedule;
            from then on the weights stay as they are. Default: none.
    """

    pattern: str
    rate: float = 1.0
    decay: float = 0.0
    fade_steps: int | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern + "")  # text: anything else could not be saved
        except (re.error, TypeError):
            raise ValueError(f"A group's pattern is a regular expression. Received: {self}") from None
        for name in ("rate", "decay"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if self.fade_steps is not None:
            object.__setattr__(self, "fade_steps", whole_number("fade_steps", self.fade_steps, 1))

    def scaled(self, learning_rate: Any, iterations: Any) -> Any:
        """The group's rate at this step, a tensor, from the optimizer's."""
        rate = self.rate * learning_rate
        if self.fade_steps:
            rate *= ops.maximum(1 - ops.cast(iterations, learning_rate.dtype) / self.fade_steps, 0)
        return rate


def group_of(path: str, groups: Iterable[ParameterGroup]) -> ParameterGroup | None:
    """The first group whose pattern is found in a variable's path."""
    return next((group for group in groups if re.search(group.pattern, path)), None)


@keras.saving.register_keras_serializable(package="davidnet_keras")
class MomentumSGD(keras.optimizers.Optimizer):
    """Nesterov momentum as TensorFlow 1 and PyTorch define it: the rate scales the step, not the velocity.

    For a weight `w` with gradient `g`:

        velocity <- momentum * velocity + g
        w        <- w - learning_rate * (g + momentum * velocity)      nesterov=True
        w        <- w - learning_rate * velocity                       nesterov=False

    `keras.optimizers.SGD` multiplies the rate into the velocity instead: the same at a constant rate, another path
    under a schedule. `optimizer.momentum = 0.95` acts on the next step without a retrace; like the rate, it is a
    variable and saved with the optimizer's state.

    Args:
        learning_rate: step size per unit of the gradient; for a summed loss, the rate for a mean loss / batch size.
        momentum: in [0, 1).
        nesterov: which of the two lines above.
        groups: `ParameterGroup`s, for weights with a rate or a decay of their own; the others have no decay.
        **kwargs: `keras.optimizers.Optimizer`'s own: clipnorm, use_ema, gradient_accumulation_steps, name, ...

    Source: `tf.train.MomentumOptimizer` (the reference notebook), `torch.optim.SGD`.
    """

    def __init__(
        self, learning_rate: Any, momentum: float = 0.9, nesterov: bool = True, groups: Iterable = (), **kwargs: Any
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.nesterov = bool(nesterov)
        self.groups = [ParameterGroup(**group) if isinstance(group, dict) else group for group in groups]
        start = keras.initializers.Constant(number("momentum", momentum, below=1))
        self._momentum = self.add_variable((), start, aggregation="only_first_replica", name="momentum")

    @property
    def momentum(self) -> keras.Variable:
        """The momentum's variable; assign a float to change it between steps."""
        return self._momentum

    @momentum.setter
    def momentum(self, value: float) -> None:
        self._momentum.assign(value)

    def build(self, variables: list[keras.Variable]) -> None:
        """Create one velocity per variable, of its shape and dtype, at zero, and find each one's group."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")
        self._groups = [group_of(getattr(variable, "path", variable.name), self.groups) for variable in variables]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any, momentum: Any = None) -> None:
        """Move one variable along its velocity, by its group's rate and decay. Default momentum: the optimizer's."""
        group = self.group(variable) or ParameterGroup("")
        gradient = ops.cast(gradient, variable.dtype)
        if group.decay:
            gradient = gradient + group.decay * variable
        rate = group.scaled(ops.cast(learning_rate, variable.dtype), self.iterations)
        self.assign_sub(variable, rate * self.direction(gradient, variable, momentum))

    def group(self, variable: keras.Variable) -> ParameterGroup | None:
        """The first group whose pattern is found in the variable's path."""
        return self._groups[self._get_variable_index(variable)]

    def direction(self, gradient: Any, variable: keras.Variable, momentum: Any = None) -> Any:
        """Update the variable's velocity; returns the step at rate 1."""
        velocity = self.velocities[self._get_variable_index(variable)]
        momentum = ops.cast(self._momentum if momentum is None else momentum, variable.dtype)
        new_velocity = momentum * velocity + gradient
        self.assign(velocity, new_velocity)
        return gradient + momentum * new_velocity if self.nesterov else new_velocity

    def get_config(self) -> dict[str, Any]:
        """The arguments; like the rate, the momentum is today's, so that a reloaded optimizer goes on where it was."""
        groups = [dataclasses.asdict(group) for group in self.groups]
        arguments = {"momentum": float(self._momentum.numpy()), "nesterov": self.nesterov, "groups": groups}
        return super().get_config() | arguments


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Muon(MomentumSGD):
    """Orthogonal updates for the kernels of convolutions, Nesterov momentum for everything else.

    For a kernel `w` of shape (rows, columns, in, out) with gradient `g`, as matrices (rows x columns x in, out):

        velocity <- momentum * velocity + g
        w        <- w * sqrt(out) / ||w||
        w        <- w - learning_rate * orthogonal(g + momentum * velocity)

    `orthogonal` brings all but the smallest singular values near 1, so the size of the gradient does not matter. The
    kernel's norm is fixed, which is harmless only where a normalisation follows. The rest moves as by `MomentumSGD`,
    and so does a kernel that a group names. Every weight of four axes counts as a kernel: name depthwise and transposed
    ones, whose last axis is not that of the outputs. All share one `learning_rate`, so schedules and finders work, as
    they do not with `keras.optimizers.MultiOptimizer`; `keras.optimizers.Muon` leaves convolutions to AdamW.

    Args:
        learning_rate, momentum: of the kernels.
        sgd_momentum: of the other weights, in [0, 1).
        newton_schulz_steps: of `orthogonal`, at least 1.
        newton_schulz_dtype: of its products: "bfloat16", for processors with instructions for it, "float16", "float32"
            or "float64". Default: that of the weights.
        **kwargs: as `MomentumSGD`'s; its groups are those of the other weights.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), and their
    cifar10-airbench, `airbench94_muon.py`, for the normalised kernels and the constants.
    """

    def __init__(
        self,
        learning_rate: Any = 0.24,
        momentum: float = 0.6,
        sgd_momentum: float = 0.85,
        newton_schulz_steps: int = 3,
        newton_schulz_dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, **kwargs)
        if newton_schulz_dtype not in PRODUCTS:
            message = f"The type must be one of {', '.join(PRODUCTS[1:])}, or None for that of the weights."
            raise ValueError(f"{message} Received: newton_schulz_dtype={newton_schulz_dtype!r}")
        self.sgd_momentum = number("sgd_momentum", sgd_momentum, below=1)
        self.newton_schulz_steps = whole_number("newton_schulz_steps", newton_schulz_steps, 1)
        self.newton_schulz_dtype = PRODUCTS[PRODUCTS.index(newton_schulz_dtype)]  # a name, given a type too

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any, momentum: Any = None) -> None:
        if len(variable.shape) != 4 or self.group(variable) is not None:
            super().update_step(gradient, variable, learning_rate, self.sgd_momentum)
            return
        direction = self.direction(ops.cast(gradient, variable.dtype), variable, momentum)
        matrix = ops.reshape(direction, (-1, variable.shape[-1]))
        update = orthogonal(matrix, self.newton_schulz_steps, self.newton_schulz_dtype)
        update = ops.reshape(ops.cast(update, variable.dtype), variable.shape)
        norm = ops.sqrt(ops.sum(ops.square(variable)))
        kept = variable * (variable.shape[-1] ** 0.5 / ops.maximum(norm, 1e-7))
        self.assign(variable, kept - ops.cast(learning_rate, variable.dtype) * update)

    def get_config(self) -> dict[str, Any]:
        names = ("sgd_momentum", "newton_schulz_steps", "newton_schulz_dtype")
        return super().get_config() | {name: getattr(self, name) for name in names}


def orthogonal(matrix: Any, steps: int, dtype: Any = None) -> Any:
    """About the nearest matrix with orthonormal rows or columns, U V^T of the singular value decomposition U S V^T.

    Three steps bring singular values from 0.03 of the norm upwards to 0.7 to 1.21. The products are in `dtype`, by
    default the matrix's own; what bfloat16 saves is measured in docs/results/kernels.
    """
    a, b, c = 3.4445, -4.7750, 2.0315  # small singular values grow by 3.4 a step, those near 1 stay from 0.7 to 1.2
    matrix = matrix / (ops.sqrt(ops.sum(ops.square(matrix))) + 1e-7)  # no singular value above 1
    matrix = ops.cast(matrix, dtype or matrix.dtype)
    wide = matrix.shape[0] < matrix.shape[1]
    for _ in range(steps):  # on the smaller side's products
        products = ops.matmul(matrix, ops.transpose(matrix)) if wide else ops.matmul(ops.transpose(matrix), matrix)
        polynomial = b * products + c * ops.matmul(products, products)
        matrix = a * matrix + (ops.matmul(polynomial, matrix) if wide else ops.matmul(matrix, polynomial))
    return matrix
