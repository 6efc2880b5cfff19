"""What the schedulers share: setting a number of the optimizer before every batch."""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from .arguments import whole_number
from .metric_names import refuse_metrics
from .schedules import Cyclical, PiecewiseCosine, PiecewiseLinear, Schedule, WarmupDecay
from .step_table import StepTable

# Not where they are defined: schedules alone do not wait for Keras.
for schedule_class in (Cyclical, PiecewiseCosine, PiecewiseLinear, WarmupDecay):
    keras.saving.register_keras_serializable("davidnet_callbacks")(schedule_class)


class BatchSchedule(keras.callbacks.Callback):
    """What the schedulers share: the length of an epoch, the progress of each batch, several steps per execution.

    A subclass says in `_variable` what is set and in `_check` which values are valid.
    """

    schedule: Callable[[float], float]
    steps_per_epoch: int | None

    log_key = "value"
    _table: Any = None
    _iterations_before: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._table = None
        if (self.params or {}).get("epochs") == 0:
            return  # nothing to schedule
        refuse_metrics(self, self.model, (self.log_key,))
        self._steps = self._known_steps()
        self._variable()  # fails now if there is none
        several = (getattr(self.model, "steps_per_execution", 1) or 1) > 1
        by_table = several or StepTable.is_cheaper(self.model)
        self._table = StepTable.installed(self.model) if by_table else None
        self._asked_for_the_end = self._began = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._scheduled = self._variable()
        if not self._asked_for_the_end:  # a schedule that is too short fails now, not in the last epoch
            self._asked_for_the_end = True
            self._iterations_before = iterations_of(self.model.optimizer)
            self._value_at(max(epoch + 1, (self.params or {}).get("epochs") or 0))
        self._values = self._values_of(epoch)
        set_variable(self._scheduled, self._values[0])
        if self._table is not None:
            self._table.set_column(self._scheduled, self._values)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = True
        if self._table is None:
            # Data longer than `steps_per_epoch` stays at the epoch's end.
            set_variable(self._scheduled, self._values[min(batch, self._steps)])
        else:
            self._table.announce(self._scheduled, batch)  # self.model would make JAX write its whole state back

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs[self.log_key] = self._value_at(epoch + 1)
        # Once a fit: on JAX reading makes the trainer write its state back. A resumed epoch may have no batch left.
        if self._began and self._iterations_before is not None:
            if iterations_of(self.model.optimizer) == self._iterations_before:
                warnings.warn(
                    f"The model's optimizer took no step in this epoch, so {type(self).__name__} has no effect; it "
                    "cannot schedule a model whose train_step uses optimizers of its own.",
                    stacklevel=2,
                )
            self._iterations_before = None

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._table is not None:
            self._table.remove()

    def _values_of(self, epoch):
        """The values before every batch of an epoch, and at its end: `steps` + 1 floats."""
        progress = [epoch + step / self._steps for step in range(self._steps + 1)]
        if not isinstance(self.schedule, Schedule):
            return [self._value_at(each) for each in progress]
        values = self.schedule(np.array(progress)).tolist()  # all at once is much faster
        for value, each in zip(values, progress, strict=True):
            self._check(value, value, each)
        return values

    def _value_at(self, progress):
        value = self.schedule(progress)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        self._check(number, value, progress)
        return number

    def _known_steps(self):
        """Batches per epoch, from `fit` or from the constructor."""
        steps = (self.params or {}).get("steps")
        if steps is None and self.steps_per_epoch is None:
            raise ValueError(
                "The schedule needs the number of batches per epoch, which this data does not tell; pass "
                f"steps_per_epoch to fit or to {type(self).__name__}. Received: steps_per_epoch=None"
            )
        if None not in (steps, self.steps_per_epoch) and steps != self.steps_per_epoch:
            raise ValueError(
                f"fit runs {steps} batches an epoch; leave steps_per_epoch out of {type(self).__name__}. "
                f"Received: steps_per_epoch={self.steps_per_epoch}"
            )
        return steps or self.steps_per_epoch


def check_schedule(schedule, steps_per_epoch):
    """ValueError unless `schedule` is a function of one number and `steps_per_epoch` a whole number or None."""
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        reason = "A keras LearningRateSchedule counts steps, not epochs; give it to the optimizer instead"
        raise ValueError(f"{reason}. Received: schedule={schedule!r}")
    if not callable(schedule):
        raise ValueError(f"The schedule must be a function of progress in epochs. Received: schedule={schedule!r}")
    if steps_per_epoch is not None:
        whole_number("steps_per_epoch", steps_per_epoch, 1)
    try:
        inspect.signature(schedule).bind(0.0)
    except ValueError:  # some built-in functions have no signature
        return
    except TypeError as error:
        reason = "The schedule must take one argument, progress in epochs (float), and nothing else"
        raise ValueError(f"{reason}. Received: schedule={schedule!r}") from error


def set_variable(variable, value):
    """Assign a number to a scalar variable, in a third of the time of Keras's `assign`."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        # Not as a Python float: TensorFlow keeps every one that it has ever turned into a tensor, 0.65 KiB each.
        variable.value.assign(np.asarray(value, variable.dtype), read_value=False)
    elif backend == "torch":
        variable.value.detach().fill_(value)
    else:
        variable.assign(value)


def iterations_of(optimizer):
    """The number of steps an optimizer has taken; None if unknown, or if it may skip steps, as loss scaling does."""
    if hasattr(optimizer, "inner_optimizer") or not hasattr(optimizer, "iterations"):
        return None
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def learning_rate_variable(optimizer):
    """The variable that holds an optimizer's rate; ValueError if there is none to set."""
    # A MultiOptimizer has no rate of its own; one made with a schedule or a function gives a plain tensor or number.
    try:
        rate = optimizer.learning_rate
    except (AttributeError, NotImplementedError):
        rate = None
    if not isinstance(rate, keras.Variable):
        raise ValueError(
            "The learning rate of this optimizer cannot be set; compile the model with a single optimizer made with a "
            f"number, such as SGD(learning_rate=0.1). Received: optimizer={type(optimizer).__name__}"
        )
    return rate


def momentum_variable(optimizer):
    """The variable that holds an optimizer's momentum; ValueError if there is none."""
    owner = getattr(optimizer, "inner_optimizer", optimizer)  # what a LossScaleOptimizer wraps
    momentum = getattr(owner, "momentum", None)
    if not isinstance(momentum, keras.Variable):
        raise ValueError(
            "The momentum of this optimizer cannot be scheduled: Keras compiles a plain number into the step. Use one "
            "whose momentum is a keras.Variable, such as davidnet_keras.MomentumSGD. "
            f"Received: optimizer={type(owner).__name__}, momentum={momentum!r}"
        )
    return momentum
