"""Values that the compiled train step takes from a table, step by step, while no callback runs."""

import contextlib

import keras
import numpy as np
from keras import ops

from .model_state import at_next_fit, withdraw


class StepTable:
    """Replaces a model's train function: sets optimizer variables before every step.

    Between the steps of one execution (`steps_per_execution`) no callback runs. So the values of a whole epoch go into
    the compiled step as a table. The step assigns its row to the optimizer's own variables and continues as usual; a
    step that loss scaling skips uses up its row like any other. On TensorFlow the table is a variable, filled once per
    epoch, and another counts the rows taken. On JAX, where Keras calls the step from Python, each batch brings its row.

    An execution that no callback has announced runs the model's own function, untouched. After a `fit` that an
    exception ended, the model's next `fit` first removes the table and all announcements.
    """

    def __init__(self, model, own_function):
        self._model = model
        self._own_function = own_function
        self._columns = {}  # id of a variable -> (variable, its values in this epoch)
        self._announced = []  # the ids of the variables to set in the coming execution
        self._loaded = None  # the ids whose columns make up the table
        self._variables = None  # what the function was made for
        self._capacity = 0  # rows of the variable on TensorFlow

    @staticmethod
    def is_cheaper(model):
        """Whether a table is faster than a callback even for single steps: on JAX that writes back the whole state."""
        if type(model).make_train_function is not keras.Model.make_train_function or _nnx_enabled():
            return False
        if keras.backend.backend() == "tensorflow":
            return not model.run_eagerly and model.distribute_strategy.num_replicas_in_sync == 1
        return keras.backend.backend() == "jax"

    @classmethod
    def installed(cls, model):
        """The table of a model, made and put in place if needed; all the schedulers of a `fit` share it.

        The model's `make_train_function` must have run, as at the beginning of `fit`.
        """
        current = model.train_function
        if isinstance(current, cls):
            return current
        if _nnx_enabled():
            raise ValueError(
                "In Keras's NNX mode, schedulers need a model compiled with steps_per_execution=1. "
                f"Received: steps_per_execution={model.steps_per_execution}"
            )
        table = getattr(current, "step_table", None)  # of an earlier fit, already traced
        if table is None:
            table = cls(model, current)
            with contextlib.suppress(AttributeError):  # the user's train function may be any callable
                current.step_table = table
        table._put_in()
        return table

    def _put_in(self):
        self._model.train_function = self
        at_next_fit(self._model, self.remove)

    def remove(self):
        """Give the model its own train function back, and forget the announcements."""
        self._announced = []
        withdraw(self._model, self.remove)
        if self._model.train_function is self:
            self._model.train_function = self._own_function

    def set_column(self, variable, values):
        """Say which values an optimizer variable takes at the steps of an epoch; the last one stays."""
        self._columns[id(variable)] = variable, values
        self._loaded, self._announced = None, []

    def announce(self, variable, step):
        """Say that the coming execution begins with this step of the epoch, and is to set this variable."""
        self._announced.append(id(variable))
        self._step = step
        if self._model.train_function is not self:
            if self._model.train_function is not self._own_function:  # remade by another callback
                self._own_function, self._variables, self._loaded = self._model.train_function, None, None
            self._put_in()

    def __call__(self, *arguments):
        # What Keras calls: (iterator) on TensorFlow, (state, iterator) on JAX.
        announced, self._announced = self._announced, []
        if not announced:
            return self._own_function(*arguments)
        if announced != self._loaded:
            self._load(announced, arguments[0])
        if self._queue is not None:
            outputs = self._function(*arguments)
        else:
            state, iterator = arguments
            begin = min(self._step, self._last)
            rows = self._rows[begin : begin + self._several]
            outputs = self._function(state, zip(iterator, rows))  # noqa: B905, the last execution may be shorter
        if not self._reached:
            self.remove()
            raise ValueError(
                "This model's train function does not go through train_step, where the schedule sets its values; "
                f"compile it with steps_per_execution=1. Received: model={type(self._model).__name__}"
            )
        return outputs

    def _load(self, announced, state):
        """Make the announced columns the table; `state` is what JAX's trainer holds instead of the variables."""
        variables, values = zip(*(self._columns[key] for key in announced), strict=True)
        # A float64 argument would be converted at every call of the compiled step.
        dtype = "float64" if variables[0].dtype == "float64" else "float32"
        rows = np.array(values, dtype).T  # (steps + 1, variables)
        self._last, self._several = len(rows) - 1, self._model.steps_per_execution
        on_tensorflow = keras.backend.backend() == "tensorflow"
        if announced != self._variables or (on_tensorflow and len(rows) > self._capacity):
            with contextlib.nullcontext() if on_tensorflow else self._values_of(state):
                self._trace(variables, len(rows) if on_tensorflow else 0)
            self._variables = announced
        # Data beyond the steps of the epoch gets the last row.
        self._rows = np.pad(rows, ((0, max(self._capacity - len(rows), self._several)), (0, 0)), "edge")
        if on_tensorflow:
            self._queue.assign(self._rows[: self._capacity])
            self._position.assign(self._step)
        self._loaded = announced

    def _values_of(self, state):
        """A scope in which the variables have the values that JAX's fit holds: Keras asks how they are sharded."""
        model = self._model
        owners = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
        variables = [owner for group in (*owners, model.metrics_variables) for owner in group]
        values = [value for group in state for value in group]
        return keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)))

    def _trace(self, variables, capacity):
        """Make the model's train function again, from a train step that takes its row first."""
        model = self._model
        self._scheduled, self._reached, self._queue, self._capacity = variables, False, None, capacity
        self._own_step = model.train_step
        before = vars(model).get("train_step")  # the user may have replaced it on the object already
        if capacity:  # on TensorFlow; one step of all replicas takes one row
            options = {"trainable": False, "aggregation": "only_first_replica"}
            zeros, dtype = np.zeros((capacity, len(variables))), variables[0].dtype
            with model.distribute_strategy.scope():
                self._queue = keras.Variable(zeros, dtype=dtype, name="step_table", **options)
                self._position = keras.Variable(0, dtype="int64", name="step_position", **options)
        model.train_step = self._train_step if capacity else self._jax_train_step
        try:
            model.make_train_function(force=True)
            self._function = model.train_function
        finally:
            model.train_function = self
            if before is None:
                del model.train_step
            else:
                model.train_step = before

    def _train_step(self, data):
        self._reached = True  # in Python, while the step is traced
        row = ops.take(self._queue, ops.minimum(self._position, self._capacity - 1), axis=0)
        self._position.assign_add(1)
        for column, variable in enumerate(self._scheduled):
            variable.assign(row[column])
        return self._own_step(data)

    def _jax_train_step(self, state, data_and_row):
        self._reached = True
        data, row = data_and_row
        trainable, non_trainable, optimizer, metrics = state
        ids = [id(variable) for variable in self._model.optimizer.variables]
        optimizer = list(optimizer)
        for column, variable in enumerate(self._scheduled):
            optimizer[ids.index(id(variable))] = ops.cast(row[column], variable.dtype)
        return self._own_step((trainable, non_trainable, optimizer, metrics), data)


def _nnx_enabled():
    """Whether Keras runs JAX through Flax's NNX, where the train step is looked up on the class."""
    return getattr(keras.config, "is_nnx_enabled", bool)()
