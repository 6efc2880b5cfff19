"""Take a model's whole state and give it back, bit by bit."""

import keras
import numpy as np
from keras import ops


def is_built(model):
    """Whether all weights of a model exist; one without a `call` of its own never says so itself."""
    layers = model._flatten_layers(include_self=False)
    return model.built or (bool(model.weights) and all(layer.built for layer in layers))


def other_optimizers(model):
    """The attributes of a model, by name, that are optimizers beside the one it was compiled with."""
    known = {id(model.optimizer), id(getattr(model.optimizer, "inner_optimizer", None))}
    found = ((name, value) for name, value in vars(model).items() if isinstance(value, keras.optimizers.Optimizer))
    return sorted(name for name, value in found if id(value) not in known)


def torch_buffers(model):
    """The buffers of torch modules inside a model, such as batch statistics: Keras knows a module's parameters only."""
    if keras.backend.backend() != "torch":
        return []
    layers = model._flatten_layers()
    return list({id(buffer): buffer for layer in layers for buffer in layer.buffers()}.values())


class ModelState:
    """A copy, in the host's memory, of every variable that training changes.

    These are the weights, batch normalisation's statistics, the states of the model's seed generators, the optimizer's
    variables (its rate among them), the metrics, and on torch the buffers of modules. The optimizer is built if it is
    not yet.

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
        self._buffers = [(buffer, buffer.detach().clone()) for buffer in torch_buffers(model)]
        self._model = model

    def restore(self):
        """Give every variable its value back. May be called again."""
        self._model.reset_metrics()  # for metrics whose variables were made since
        for variable, value in self._values:
            variable.assign(value)
        for buffer, value in self._buffers:
            buffer.copy_(value)
