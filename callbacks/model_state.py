"""The state of a model: what training changes in it, copied, averaged, restored, or undone before the next fit."""

import math

import keras
import numpy as np
from keras import ops


def is_built(model):
    """Whether all weights of a model exist; one without a `call` of its own never says so itself."""
    layers = model._flatten_layers(include_self=False)
    return model.built or (bool(model.weights) and all(layer.built for layer in layers))


def other_optimizers(model):
    """The names of a model's attributes that are optimizers beside the one it was compiled with."""
    known = {id(model.optimizer), id(getattr(model.optimizer, "inner_optimizer", None))}
    found = ((name, value) for name, value in vars(model).items() if isinstance(value, keras.optimizers.Optimizer))
    return sorted(name for name, value in found if id(value) not in known)


def smallest_weight(model):
    """A copy of the smallest of a model's weights, as the last step leaves it."""
    weights = model.trainable_variables or model.variables
    return np.array(ops.convert_to_numpy(min(weights, key=lambda weight: math.prod(weight.shape))))


def wait_for_steps(model):
    """Return when the model's last step is done: fit may run ahead of a GPU, and on JAX of any device."""
    if model.trainable_variables:
        smallest_weight(model)


class ModelState:
    """A copy, in the host's memory, of every variable that training changes in a model, which is built and compiled.

    These are the weights, batch statistics, seed generators, the optimizer's variables, the metrics, and on torch the
    buffers of modules. The optimizer is built if needed.
    """

    def __init__(self, model):
        if not model.optimizer.built:
            # Slots made later would have no state to go back to.
            model.optimizer.build(model.trainable_variables)
        variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        # A copy: the array may share memory with the variable, as it does with torch on a CPU.
        self._values = [(variable, np.array(ops.convert_to_numpy(variable))) for variable in variables]
        # Of torch modules inside a model Keras knows only the parameters, not the buffers.
        layers = model._flatten_layers() if keras.backend.backend() == "torch" else []
        buffers = {id(buffer): buffer for layer in layers for buffer in layer.buffers()}
        self._buffers = [(buffer, buffer.detach().clone()) for buffer in buffers.values()]
        self._model = model

    def restore(self):
        """Give every variable its value back. May be called again."""
        self._model.reset_metrics()  # for metrics whose variables were made since
        for variable, value in self._values:
            variable.assign(value)
        for buffer, value in self._buffers:
            buffer.copy_(value)


class RunningAverage:
    """An average of a model's weights, in float32 or wider: bfloat16 would round away a hundredth of a step.

    It starts from the weights, or from another's `arrays()` and `mass`: how much `add` has added, from 0 towards 1.
    """

    def __init__(self, model, arrays=None, mass=0.0):
        # No seed generators, metrics or whole numbers; on torch, no buffers of wrapped modules.
        self.variables = [variable for variable in model.weights if keras.backend.is_float_dtype(variable.dtype)]
        self.mass = mass
        if arrays is None:
            self._values = [ops.copy(_wide(variable)) for variable in self.variables]
            return
        shapes, found = ([tuple(item.shape) for item in items] for items in (self.variables, arrays))
        if shapes != found:
            received = f"{len(found)} arrays of {sum(map(np.size, arrays)):,} numbers for {len(shapes)} variables"
            raise ValueError(f"This average is of another model's weights; train that model. Received: {received}")
        self._values = [
            ops.convert_to_tensor(array, dtype=_wide_dtype(variable))
            for variable, array in zip(self.variables, arrays, strict=True)
        ]

    def move(self, share):
        """Move the average towards the variables by this share of the difference."""
        # Not as a Python float: TensorFlow keeps every one that it has ever turned into a tensor.
        shares = {dtype: ops.convert_to_tensor(np.asarray(share, dtype)) for dtype in ("float32", "float64")}
        self._values = [
            value + shares[_wide_dtype(variable)] * (_wide(variable) - value)
            for value, variable in zip(self._values, self.variables, strict=True)
        ]

    def add(self, decay):
        """Add the variables with a weight of 1 - decay; the values at the start do not count."""
        self.mass = decay * self.mass + (1 - decay)
        if self.mass:
            self.move((1 - decay) / self.mass)

    def put_in(self):
        for variable, value in zip(self.variables, self._values, strict=True):
            variable.assign(ops.copy(value))  # JAX hands a variable's memory to the next step, which overwrites it

    def arrays(self):
        return [np.array(ops.convert_to_numpy(value)) for value in self._values]


def _wide_dtype(variable):
    return "float64" if variable.dtype == "float64" else "float32"


def _wide(variable):
    return ops.cast(ops.stop_gradient(variable), _wide_dtype(variable))


class _NextFit:
    """Replaces a model's `make_train_function`, which `fit` and `train_on_batch` call first."""

    def __init__(self, model):
        self._model = model
        self._own = model.make_train_function
        self._before = vars(model).get("make_train_function")  # the user may have replaced it on the object already
        self.undo = []

    def __call__(self, force=False):
        if not force:  # with `force` it is a callback that makes the function again, in the same fit
            self.remove()
            for undo in self.undo:
                undo()
        return self._own(force)

    def remove(self):
        if self._before is None:
            del self._model.make_train_function
        else:
            self._model.make_train_function = self._before


def at_next_fit(model, undo):
    """Have `undo()` called when the model's next `fit` or `train_on_batch` begins, unless `withdraw` is called first.

    Keras calls no callback when an exception ends `fit`: whoever changes a model registers here how to undo it.
    """
    if not isinstance(vars(model).get("make_train_function"), _NextFit):
        model.make_train_function = _NextFit(model)
    if undo not in model.make_train_function.undo:
        model.make_train_function.undo.append(undo)


def withdraw(model, undo):
    """Forget what `at_next_fit` registered."""
    stand_in = vars(model).get("make_train_function")
    if isinstance(stand_in, _NextFit) and undo in stand_in.undo:
        stand_in.undo.remove(undo)
        if not stand_in.undo:
            stand_in.remove()
