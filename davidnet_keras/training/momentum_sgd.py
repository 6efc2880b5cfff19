"""Momentum SGD with the learning rate outside the velocity."""

import dataclasses

import keras
from keras import ops

from davidnet_keras.training.parameter_group import ParameterGroup, group_of


@keras.saving.register_keras_serializable(package="davidnet_keras")
class MomentumSGD(keras.optimizers.Optimizer):
    """Nesterov momentum as TensorFlow 1 and PyTorch define it: the rate scales the step, not the velocity.

    For a weight `w` with gradient `g`:

        velocity <- momentum * velocity + g
        w        <- w - learning_rate * (g + momentum * velocity)      nesterov=True
        w        <- w - learning_rate * velocity                       nesterov=False

    `keras.optimizers.SGD` multiplies the rate into the velocity instead. Both agree while the rate is constant and part
    as soon as it changes between steps, as it does at every step of a one-cycle schedule.

    The momentum is held in a variable, as the rate is, so `optimizer.momentum = 0.95` acts on the next step without a
    retrace, and both are saved with the optimizer's state.

    Args:
        learning_rate: float, step size per unit of the gradient handed in. With a summed loss that is the rate for a
            mean loss divided by the batch size.
        momentum: float in [0, 1). Default 0.9.
        nesterov: bool. Default True.
        groups: `ParameterGroup`s, for weights with a rate or a decay of their own. One that fits no group has the rate
            above and no decay. Default: none.
        **kwargs: `keras.optimizers.Optimizer`'s own: clipnorm, use_ema, gradient_accumulation_steps, name, ...

    Raises:
        ValueError: momentum outside [0, 1).

    Source: `tf.train.MomentumOptimizer` (the reference notebook), `torch.optim.SGD`.
    """

    def __init__(self, learning_rate, momentum=0.9, nesterov=True, groups=(), **kwargs):
        if not 0 <= momentum < 1:
            raise ValueError(f"Momentum must be at least 0 and below 1. Received: momentum={momentum}")
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.nesterov = bool(nesterov)
        self.groups = [ParameterGroup(**group) if isinstance(group, dict) else group for group in groups]
        self._momentum = self.add_variable(
            shape=(),
            initializer=keras.initializers.Constant(momentum),
            aggregation="only_first_replica",
            name="momentum",
        )

    @property
    def momentum(self):
        """The momentum's variable; assign a float to change it between steps."""
        return self._momentum

    @momentum.setter
    def momentum(self, value):
        self._momentum.assign(value)

    def build(self, variables):
        """Create one velocity per variable, of its shape and dtype, at zero, and find each one's group."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")
        self._groups = [group_of(getattr(variable, "path", variable.name), self.groups) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """Move one variable by one step."""
        self.momentum_step(gradient, variable, learning_rate, self._momentum)

    def momentum_step(self, gradient, variable, learning_rate, momentum):
        """Move one variable along its velocity, by its group's rate and decay."""
        group = self.group(variable) or ParameterGroup("")
        gradient = ops.cast(gradient, variable.dtype)
        if group.decay:
            gradient = gradient + group.decay * variable
        rate = group.scaled(ops.cast(learning_rate, variable.dtype), self.iterations)
        self.assign_sub(variable, rate * self.direction(gradient, variable, momentum))

    def group(self, variable):
        """The `ParameterGroup` of a variable, or None."""
        return self._groups[self._get_variable_index(variable)]

    def direction(self, gradient, variable, momentum):
        """Bring a variable's velocity up to date; where to go from it."""
        velocity = self.velocities[self._get_variable_index(variable)]
        momentum = ops.cast(momentum, variable.dtype)
        new_velocity = momentum * velocity + gradient
        self.assign(velocity, new_velocity)
        return gradient + momentum * new_velocity if self.nesterov else new_velocity

    def get_config(self):
        # The current momentum, as the base class does with the rate: a reloaded optimizer goes on where it was.
        return super().get_config() | {
            "momentum": float(self._momentum.numpy()),
            "nesterov": self.nesterov,
            "groups": [dataclasses.asdict(group) for group in self.groups],
        }
