"""An optimizer that keeps what it was given in its own variables, whatever backend compiles it."""

import keras
import numpy as np
from keras import ops


class RecordingSGD(keras.optimizers.Optimizer):
    """Momentum SGD, with the momentum in a variable, that records the rate and the momentum of each update."""

    def __init__(self, learning_rate=9.0, momentum=0.0, updates=64, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.updates = updates
        self._momentum = self.add_variable((), keras.initializers.Constant(momentum), name="momentum")
        self.rate_log = self.add_variable((updates,), name="rates")
        self.momentum_log = self.add_variable((updates,), name="momenta")

    @property
    def momentum(self):
        return self._momentum

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        now = ops.arange(self.updates) == ops.cast(self._iterations, "int32")
        rate, momentum = ops.convert_to_tensor(learning_rate), ops.convert_to_tensor(self._momentum)
        for log, value in ((self.rate_log, rate), (self.momentum_log, momentum)):
            self.assign(log, ops.where(now, value, ops.convert_to_tensor(log)))
        velocity = self.velocities[self._get_variable_index(variable)]
        self.assign(velocity, momentum * velocity + gradient)
        self.assign_sub(variable, rate * velocity)

    def rates(self, updates):
        """The rates of the first `updates` updates, float32 (updates,)."""
        return np.array(keras.ops.convert_to_numpy(self.rate_log))[:updates]

    def momenta(self, updates):
        """The same of the momentum."""
        return np.array(keras.ops.convert_to_numpy(self.momentum_log))[:updates]
