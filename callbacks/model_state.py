"""Take a model's whole state and give it back, bit by bit."""

import numpy as np
from keras import ops


class ModelState:
    """A copy, in the host's memory, of every variable that training changes.

    These are the weights, batch normalisation's statistics, the states of the model's seed generators, the optimizer's
    variables (its rate among them) and the metrics. The optimizer is built if it is not yet.

    Args:
        model: a built and compiled `keras.Model`.
    """

    def __init__(self, model):
        if not model.optimizer.built:
            # Slots made later would have no state to go back to.
            model.optimizer.build(model.trainable_variables)
        variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        # A copy: the array may share memory with the variable, as it does with torch on a CPU.
        self._values = [(variable, np.array(ops.convert_to_numpy(variable))) for variable in variables]
        self._model = model

    def restore(self):
        """Give every variable its value back. May be called again."""
        self._model.reset_metrics()  # for metrics whose variables were made since
        for variable, value in self._values:
            variable.assign(value)
