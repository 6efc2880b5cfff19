"""Momentum SGD with the learning rate outside the velocity."""

import keras
from keras import ops


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
        **kwargs: `keras.optimizers.Optimizer`'s own: clipnorm, use_ema, gradient_accumulation_steps, name, ...

    Raises:
        ValueError: momentum outside [0, 1).

    Source: `tf.train.MomentumOptimizer` (the reference notebook), `torch.optim.SGD`.
    """

    def __init__(self, learning_rate, momentum=0.9, nesterov=True, **kwargs):
        if not 0 <= momentum < 1:
            raise ValueError(f"Momentum must be at least 0 and below 1. Received: momentum={momentum}")
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.nesterov = bool(nesterov)
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
        """Create one velocity per variable, of its shape and dtype, at zero."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        """Move one variable by one step."""
        velocity = self.velocities[self._get_variable_index(variable)]
        momentum = ops.cast(self._momentum, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        new_velocity = momentum * velocity + gradient
        self.assign(velocity, new_velocity)
        direction = gradient + momentum * new_velocity if self.nesterov else new_velocity
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * direction)

    def get_config(self):
        # The current momentum, as the base class does with the rate: a reloaded optimizer goes on where it was.
        return super().get_config() | {"momentum": float(self._momentum.numpy()), "nesterov": self.nesterov}
