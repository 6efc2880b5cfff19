"""Values that change from step to step inside one execution of several steps (`steps_per_execution`)."""

import contextlib

import keras
import numpy as np
from keras import ops


class StepTable:
    """Stands in for a model's train function: sets optimizer variables before every step of an execution.

    Between the steps of an execution no callback runs. So the values of the coming steps, worked out beforehand, go
    into the compiled step as a table. The step takes the next row, assigns it to the optimizer's own variables, and
    goes on as it always did. The variables stay the optimizer's: what is saved is what would be saved without, and a
    step that loss scaling skips has used up its row like any other.

    On TensorFlow the table is a variable of which each step reads the first row and then rolls it to the end. On JAX,
    where Keras calls the compiled step from Python, a row comes along with each batch.

    An execution for which no column was set runs the model's own function, untouched. So nothing is left behind by a
    `fit` that an exception ended.
    """

    def __init__(self, model):
        self._model = model
        self._columns = {}  # id of a variable -> (variable, its values in the coming execution)
        self._own_function = None  # the model's
        self._function = None  # the same with the table
        self._traced_for = None

    @staticmethod
    def is_cheaper(model):
        """Whether to use a table even for single steps.

        On JAX a callback that sets a variable makes the trainer put its whole state into the model's variables and take
        it out again, before every batch. A row that comes along with the batch spares that.
        """
        own = getattr(type(model), "make_train_function", None) is not keras.Model.make_train_function
        return keras.backend.backend() == "jax" and not own and not nnx_enabled()

    @classmethod
    def installed(cls, model, earlier=None):
        """The table of a model, made and put in place if need be; all the schedulers of a `fit` share it.

        Args:
            model: a compiled `keras.Model` whose `make_train_function` has run, as at the beginning of `fit`.
            earlier: a table of an earlier `fit`, whose traced function is used again where it still fits.
        """
        current = model.train_function
        if isinstance(current, cls):
            return current
        if nnx_enabled():
            raise ValueError(
                "With Keras's NNX mode the train step cannot be given a table; compile the model with "
                f"steps_per_execution=1. Received: steps_per_execution={model.steps_per_execution}"
            )
        reusable = earlier is not None and earlier._model is model and earlier._own_function is current
        table = earlier if reusable else cls(model)
        table._own_function = current
        table._columns.clear()
        model.train_function = table
        return table

    def remove(self):
        """Give the model its own train function back."""
        if self._model.train_function is self:
            self._model.train_function = self._own_function

    def set_column(self, variable, values):
        """Say which values an optimizer variable takes in the steps of the next execution."""
        self._columns[id(variable)] = variable, values

    def __call__(self, *arguments):
        # What Keras calls: (iterator) on TensorFlow, (state, iterator) on JAX.
        columns, self._columns = list(self._columns.values()), {}
        if not columns:
            return self._own_function(*arguments)
        # A float64 argument would be converted at every call of the compiled step.
        dtype = "float64" if columns[0][0].dtype == "float64" else "float32"
        table = np.array([values for _, values in columns], dtype).T  # steps, variables
        traced_for = (table.shape[0], *(id(variable) for variable, _ in columns))
        if traced_for != self._traced_for:
            self._trace([variable for variable, _ in columns], len(table))
            self._traced_for = traced_for
        *state, iterator = arguments
        if self._queue is None:
            outputs = self._function(*state, zip(iterator, table))  # noqa: B905, the last execution may be shorter
        else:
            self._queue.assign(table)
            outputs = self._function(iterator)
        if not self._reached:
            self.remove()
            raise ValueError(
                "This model's train function does not go through train_step, where the schedule sets its values; "
                f"compile it with steps_per_execution=1. Received: model={type(self._model).__name__}"
            )
        return outputs

    def _trace(self, variables, steps):
        """Make the model's train function anew, from a train step that takes its row first."""
        model = self._model
        self._variables, self._reached, self._queue = variables, False, None
        self._own_step = model.train_step
        before = vars(model).get("train_step")  # somebody may have put one on the object already
        if keras.backend.backend() == "jax":
            model.train_step = self._jax_train_step
        else:
            self._queue = self._new_queue(steps)
            model.train_step = self._train_step
        try:
            model.make_train_function(force=True)
            self._function = model.train_function
        finally:
            model.train_function = self
            if before is None:
                del model.train_step
            else:
                model.train_step = before

    def _new_queue(self, steps):
        strategy = getattr(self._model, "distribute_strategy", None)
        with strategy.scope() if strategy else contextlib.nullcontext():
            return keras.Variable(
                np.zeros((steps, len(self._variables))),
                dtype=self._variables[0].dtype,
                trainable=False,
                aggregation="only_first_replica",  # else each replica would roll it once
                name="step_table",
            )

    def _train_step(self, data):
        self._reached = True  # in Python, while the step is traced
        for column, variable in enumerate(self._variables):
            variable.assign(self._queue[0, column])
        self._queue.assign(ops.roll(self._queue, -1, axis=0))
        return self._own_step(data)

    def _jax_train_step(self, state, data):
        self._reached = True
        data, row = data
        trainable, non_trainable, optimizer, metrics = state
        places = [id(variable) for variable in self._model.optimizer.variables]
        optimizer = list(optimizer)
        for column, variable in enumerate(self._variables):
            optimizer[places.index(id(variable))] = ops.cast(row[column], variable.dtype)
        return self._own_step((trainable, non_trainable, optimizer, metrics), data)


def nnx_enabled():
    """Whether Keras runs JAX through Flax's NNX, where the train step is looked up on the class."""
    return getattr(keras.config, "is_nnx_enabled", bool)()
