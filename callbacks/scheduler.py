"""Set the learning rate, or the momentum, before every batch."""

import math
from collections.abc import Callable

import keras

from .batch_schedule import BatchSchedule, check_schedule, learning_rate_variable, momentum_variable


class BatchLearningRateScheduler(BatchSchedule, keras.callbacks.LearningRateScheduler):
    """Sets the optimizer's learning rate before every batch, from a function of progress in epochs.

    Progress is epoch + batch / steps_per_epoch, worked out anew for each batch and never counted up. It is therefore
    right after `initial_epoch`, after any resume, in a second `fit`, and when a mixed-precision step was skipped.
    At the end of each epoch `logs["learning_rate"]` is the rate that the schedule has there: the one that the next
    epoch starts with. Callbacks that show it (`HistoryCSV`, `PlotCurves`, ...) come later in the list than this one.

    The schedule is asked at an epoch's begin for the rates of all its batches. On TensorFlow and JAX they go into the
    compiled step as a table, whatever `steps_per_execution` is: the train function is traced once more for that, in the
    first `fit`, and the model gets its own back when `fit` ends. On torch, in an eager model, over several replicas and
    beside a `make_train_function` of your own, the optimizer's variable is set before each batch.

    Args:
        schedule: function of progress in epochs (float), from 0 to the number of epochs, that included, which returns
            the rate (float), such as `PiecewiseLinear`.
        verbose: 1 prints the rate that each epoch starts with. Default: 0.
        steps_per_epoch: batches an epoch. Needed only where `fit` cannot know it, as for a generator.

    Raises:
        ValueError: a schedule that is no function of one number; and when training begins, a model whose optimizer has
            no rate that can be set, or an unknown number of steps; and at any time, a rate that is no finite number.

    Example:
        schedule = PiecewiseLinear((0, 5, 24), (0.0, 0.1, 0.0))
        model.fit(x, y, epochs=24, callbacks=[BatchLearningRateScheduler(schedule)])
    """

    log_key = "learning_rate"

    def __init__(
        self, schedule: Callable[[float], float], verbose: int = 0, steps_per_epoch: int | None = None
    ) -> None:
        check_schedule(schedule, steps_per_epoch)
        super().__init__(schedule, verbose)
        self.steps_per_epoch = steps_per_epoch

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self.verbose > 0:
            rate = self._value_at(epoch)
            print(f"\nEpoch {epoch + 1}: {type(self).__name__} starts with the learning rate {rate:.6g}.")

    def _variable(self):
        return learning_rate_variable(self.model.optimizer)

    def _check(self, number, value, progress):
        if not 0 <= number < math.inf:
            raise ValueError(
                f"A schedule must return a finite rate, 0 or more; at {progress:.6g} epochs it did not. "
                f"Received: learning_rate={value!r}"
            )


class BatchMomentumScheduler(BatchSchedule):
    """Sets the optimizer's momentum before every batch, from a function of progress in epochs.

    Only an optimizer that keeps its momentum in a variable can follow: `davidnet_keras.MomentumSGD` does, and any whose
    `momentum` is a `keras.Variable`. `keras.optimizers.SGD` and Adam hold a plain number, which is compiled into the
    train step; they are refused, since setting it would change nothing.

    Progress, resumes and `steps_per_execution` are as for `BatchLearningRateScheduler`, beside which this callback is
    used. At the end of each epoch `logs["momentum"]` is the momentum that the next one starts with.

    Args:
        schedule: function of progress in epochs (float) that returns the momentum (float in [0, 1)), such as what
            `one_cycle_momentum` returns.
        steps_per_epoch: batches an epoch. Needed only where `fit` cannot know it, as for a generator.

    Raises:
        ValueError: a schedule that is no function of one number; and when training begins, an optimizer without a
            momentum that can be set, or an unknown number of steps; and at any time, a momentum outside [0, 1).

    Example:
        model.compile(davidnet_keras.MomentumSGD(0.1), "mse")
        momentum = BatchMomentumScheduler(one_cycle_momentum(epochs=24))
        model.fit(x, y, epochs=24, callbacks=[OneCycleCosine(0.1), momentum])

    Source: Smith, 2018, "A disciplined approach to neural network hyper-parameters".
    """

    log_key = "momentum"

    def __init__(self, schedule: Callable[[float], float], steps_per_epoch: int | None = None) -> None:
        check_schedule(schedule, steps_per_epoch)
        super().__init__()
        self.schedule = schedule
        self.steps_per_epoch = steps_per_epoch

    def _variable(self):
        return momentum_variable(self.model.optimizer)

    def _check(self, number, value, progress):
        if not 0 <= number < 1:
            raise ValueError(
                f"A schedule of the momentum must return 0 or more and less than 1; at {progress:.6g} epochs it did "
                f"not. Received: momentum={value!r}"
            )
