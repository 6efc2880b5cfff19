"""Set the learning rate, or the momentum, before every batch; one-cycle schedules that take their length from fit."""

import math
from collections.abc import Callable
from typing import Any

import keras

from .batch_schedule import BatchSchedule, check_schedule, learning_rate_variable, momentum_variable
from .one_cycle_schedules import one_cycle_cosine, one_cycle_triangle


class BatchLearningRateScheduler(BatchSchedule, keras.callbacks.LearningRateScheduler):
    """Sets the optimizer's learning rate before every batch, from a function of progress in epochs.

    Progress is epoch + batch / steps_per_epoch, never counted up: it is right after any resume, in a second `fit`, and
    when a mixed-precision step was skipped. At the end of each epoch `logs["learning_rate"]` is the rate that the next
    epoch starts with. Callbacks that show it (`HistoryCSV`, `PlotCurves`, ...) come later in the list than this one.

    The schedule is called at the start of an epoch for all its batches. On TensorFlow and JAX the rates go into the
    compiled step as a table, for which the first `fit` traces the train function once more. On torch, in an eager
    model, over several replicas and beside your own `make_train_function`, the variable is set before each batch.

    Args:
        schedule: function of progress in epochs (float, 0 to the number of epochs, inclusive) that returns the rate
            (float), such as `PiecewiseLinear`.
        verbose: 1 prints the rate that each epoch starts with.
        steps_per_epoch: batches per epoch, where `fit` cannot know it, as for a generator.

    Raises:
        ValueError: a schedule that is not a function of one number, an optimizer whose rate cannot be set, an unknown
            number of steps, a rate that is negative or not finite.

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

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if self.verbose > 0:
            rate = self._value_at(epoch)
            print(f"\nEpoch {epoch + 1}: {type(self).__name__} starts with the learning rate {rate:.6g}.")

    def _variable(self):
        return learning_rate_variable(self.model.optimizer)

    def _check(self, number, value, progress):
        if not 0 <= number < math.inf:
            reason = f"A schedule must return a finite rate, 0 or more; at {progress:.6g} epochs it did not"
            raise ValueError(f"{reason}. Received: learning_rate={value!r}")


class BatchMomentumScheduler(BatchSchedule):
    """Sets the optimizer's momentum before every batch, from a function of progress in epochs.

    The optimizer's `momentum` must be a `keras.Variable`, as `davidnet_keras.MomentumSGD`'s is. `keras.optimizers.SGD`
    and Adam are refused: they compile a plain number into the train step, where setting it would change nothing.

    Everything else is as for `BatchLearningRateScheduler`; the key of the logs is "momentum".

    Args:
        schedule: function of progress in epochs that returns the momentum in [0, 1), such as `one_cycle_momentum`'s.
        steps_per_epoch: as for `BatchLearningRateScheduler`.

    Raises:
        ValueError: as `BatchLearningRateScheduler` does; a momentum outside [0, 1).

    Example:
        callbacks = [OneCycleCosine(0.1), BatchMomentumScheduler(one_cycle_momentum(epochs=24))]

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
            reason = f"A momentum must be 0 or more and below 1; the schedule's at {progress:.6g} epochs is not"
            raise ValueError(f"{reason}. Received: momentum={value!r}")


class OneCycleTriangle(BatchLearningRateScheduler):
    """Takes the learning rate from 0 to `peak` and back to 0, in straight lines, changing with every batch.

    Args:
        peak: the optimizer's rate at the top.
        epochs: length of the triangle, in epochs; a longer `fit` stays at 0. Default: the epochs of each `fit`.
        warmup_epochs: when the peak is reached, in epochs; 0 starts there. Default: max(1, (epochs + 1) // 5), but at
            most half of the run.
        verbose, steps_per_epoch: as for `BatchLearningRateScheduler`.
        start, end: the first and the last rate, as shares of the peak, 0 to 1. Default: 0.

    Attributes:
        schedule: a `PiecewiseLinear`; without `epochs`, once `fit` has begun.

    Example:
        model.fit(x, y, epochs=24, callbacks=[OneCycleTriangle(0.1)])

    Source: Smith and Topin, 2017, "Super-Convergence"; the triangle is the reference notebook's.
    """

    def __init__(
        self,
        peak: float,
        epochs: float | None = None,
        warmup_epochs: float | None = None,
        verbose: int = 0,
        steps_per_epoch: int | None = None,
        start: float = 0.0,
        end: float = 0.0,
    ) -> None:
        # Without `epochs`, any length that holds the warm-up will do to check the other arguments.
        length = (warmup_epochs or 1) if epochs is None else epochs
        checked: Any = one_cycle_triangle(peak, length, warmup_epochs, start, end)
        super().__init__(_unknown_before_fit if epochs is None else checked, verbose, steps_per_epoch)
        self.peak, self.epochs, self.warmup_epochs, self.start, self.end = peak, epochs, warmup_epochs, start, end

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        epochs: Any = (self.params or {}).get("epochs")
        if self.epochs is None and epochs != 0:
            self.schedule = one_cycle_triangle(self.peak, epochs, self.warmup_epochs, self.start, self.end)


class OneCycleCosine(BatchLearningRateScheduler):
    """Takes the learning rate up to `peak` and down to nearly 0, in half cosines: torch's `OneCycleLR`, step by step.

    Args:
        peak: the optimizer's rate at the top.
        epochs: length of the cycle, in epochs; a longer `fit` stays at the last rate. Default: that of each `fit`.
        pct_start, div_factor, final_div_factor: as for `one_cycle_cosine`. Default: torch's, 0.3, 25 and 1e4.
        verbose, steps_per_epoch: as for `BatchLearningRateScheduler`.

    Attributes:
        schedule: the schedule, a `PiecewiseCosine`, once `fit` has begun: it depends on the number of steps.

    Example:
        model.fit(x, y, epochs=24, callbacks=[OneCycleCosine(0.1)])

    Source: `torch.optim.lr_scheduler.OneCycleLR`; Smith and Topin, 2017, "Super-Convergence".
    """

    def __init__(
        self,
        peak: float,
        epochs: float | None = None,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        verbose: int = 0,
        steps_per_epoch: int | None = None,
    ) -> None:
        one_cycle_cosine(peak, 1 if epochs is None else epochs, pct_start, div_factor, final_div_factor)  # checks
        super().__init__(_unknown_before_fit, verbose, steps_per_epoch)
        self.peak, self.epochs = peak, epochs
        self.pct_start, self.div_factor, self.final_div_factor = pct_start, div_factor, final_div_factor

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        epochs: Any = (self.params or {}).get("epochs")
        if epochs != 0:
            shape = self.pct_start, self.div_factor, self.final_div_factor
            self.schedule = one_cycle_cosine(self.peak, self.epochs or epochs, *shape, self._steps)


def _unknown_before_fit(progress):
    raise ValueError(
        "The length of this one-cycle schedule comes from fit, and there is none before it begins; make it with "
        "one_cycle_triangle or one_cycle_cosine, or give OneCycleTriangle its epochs. Received: epochs=None"
    )
