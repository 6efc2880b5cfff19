"""A running average of a model's weights, on the device where they are."""

import keras
import numpy as np
from keras import ops


def averaged_variables(model):
    """The weights of a model and batch normalisation's statistics: not seed generators, metrics or whole numbers.

    Nor, on torch, the buffers of wrapped modules, which are no variables of Keras.
    """
    return [variable for variable in model.weights if keras.backend.is_float_dtype(variable.dtype)]


class RunningAverage:
    """An average of variables, kept in float32 or wider: in bfloat16 a hundredth of a step would be rounded away.

    Args:
        variables: list of `keras.Variable`; the average starts at their values.
        arrays, mass: what another's `arrays()` and `mass` were, to go on from there.

    Attributes:
        mass: float, how much has been added by `add`, from 0 towards 1.

    Raises:
        ValueError: arrays of other shapes.
    """

    def __init__(self, variables, arrays=None, mass=0.0):
        self.variables, self.mass = variables, mass
        if arrays is None:
            self._values = [ops.copy(wide(variable)) for variable in variables]
            return
        shapes, found = ([tuple(item.shape) for item in items] for items in (variables, arrays))
        if shapes != found:
            raise ValueError(
                f"This average is of another model's weights; train the model that it was taken from. Received: "
                f"{len(found)} arrays of {sum(map(np.size, arrays)):,} numbers for {len(shapes)} variables"
            )
        self._values = [
            ops.convert_to_tensor(array, dtype=wide_dtype(variable))
            for variable, array in zip(variables, arrays, strict=True)
        ]

    def move(self, share):
        """Move the average towards the variables by this share of the difference."""
        # Not as a Python float: TensorFlow keeps every one that it has ever turned into a tensor.
        shares = {dtype: ops.convert_to_tensor(np.asarray(share, dtype)) for dtype in ("float32", "float64")}
        self._values = [
            value + shares[wide_dtype(variable)] * (wide(variable) - value)
            for value, variable in zip(self._values, self.variables, strict=True)
        ]

    def add(self, decay):
        """Take the variables in with a weight of 1 - decay; where the average started does not count."""
        self.mass = decay * self.mass + (1 - decay)
        if self.mass:
            self.move((1 - decay) / self.mass)

    def put_in(self):
        """Set the variables to the average."""
        for variable, value in zip(self.variables, self._values, strict=True):
            variable.assign(ops.copy(value))  # JAX hands a variable's memory to the next step, which overwrites it

    def arrays(self):
        """The average, as a list of NumPy arrays."""
        return [np.array(ops.convert_to_numpy(value)) for value in self._values]


def wide_dtype(variable):
    """float64 for float64, else float32."""
    return "float64" if variable.dtype == "float64" else "float32"


def wide(variable):
    """A variable's value, in float32 or wider and without a gradient."""
    return ops.cast(ops.stop_gradient(variable), wide_dtype(variable))
