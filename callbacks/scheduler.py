"""Set the learning rate before every batch."""

import inspect
import math

import keras


class BatchLearningRateScheduler(keras.callbacks.LearningRateScheduler):
    """Sets the optimizer's learning rate before every batch, from a function of progress in epochs.

    Progress is epoch + batch / steps_per_epoch, worked out anew for each batch and never counted up. It is therefore
    right after `initial_epoch`, after any resume, in a second `fit`, and when a mixed-precision step was skipped.
    At the end of each epoch `logs["learning_rate"]` is the rate that the schedule has there: the one that the next
    epoch starts with. Callbacks that show it (`HistoryCSV`, `PlotCurves`, ...) come later in the list than this one.

    Args:
        schedule: function of progress in epochs (float) that returns the rate (float), such as `PiecewiseLinear`.
        verbose: 1 prints the rate that each epoch starts with. Default: 0.
        steps_per_epoch: batches an epoch. Needed only where `fit` cannot know it, as for a generator.

    Raises:
        ValueError: a schedule that is no function of one number; and when training begins, a model whose optimizer has
            no rate that can be set, an unknown number of steps, or `steps_per_execution` above 1.

    Example:
        schedule = PiecewiseLinear((0, 5, 24), (0.0, 0.1, 0.0))
        model.fit(x, y, epochs=24, callbacks=[BatchLearningRateScheduler(schedule)])
    """

    def __init__(self, schedule, verbose=0, steps_per_epoch=None):
        check_schedule(schedule)
        if steps_per_epoch is not None and not (isinstance(steps_per_epoch, int) and steps_per_epoch > 0):
            raise ValueError(
                "The steps of an epoch must be a positive integer, or None to learn them from fit. "
                f"Received: steps_per_epoch={steps_per_epoch}"
            )
        super().__init__(schedule, verbose)
        self.steps_per_epoch = steps_per_epoch
        self._epoch = 0
        self._steps = steps_per_epoch

    def on_train_begin(self, logs=None):
        steps_per_execution = getattr(self.model, "steps_per_execution", 1)
        if steps_per_execution not in (None, 1):
            raise ValueError(
                f"{type(self).__name__} sets the rate between batches, but this model runs several at a time; compile "
                f"it with steps_per_execution=1. Received: steps_per_execution={steps_per_execution}"
            )
        self._steps = self._known_steps()

    def on_epoch_begin(self, epoch, logs=None):
        # The base class calls schedule(epoch, learning_rate) here.
        self._epoch = epoch
        rate = self._set_rate(epoch)
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: {type(self).__name__} starts with the learning rate {rate:.6g}.")

    def on_train_batch_begin(self, batch, logs=None):
        # A dataset longer than `steps_per_epoch` promised stays at the epoch's end, rather than run ahead of it.
        self._set_rate(self._epoch + min(batch / self._steps, 1.0))

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["learning_rate"] = self._rate_at(epoch + 1)

    def _known_steps(self):
        """Batches an epoch, from `fit` or from the constructor."""
        steps = (self.params or {}).get("steps")
        if steps is None and self.steps_per_epoch is None:
            raise ValueError(
                f"{type(self).__name__} must know how many batches an epoch has, and this data does not say; pass "
                f"steps_per_epoch to fit or to {type(self).__name__}. Received: steps_per_epoch=None"
            )
        if None not in (steps, self.steps_per_epoch) and steps != self.steps_per_epoch:
            raise ValueError(
                f"fit runs {steps} batches an epoch; leave steps_per_epoch out of {type(self).__name__}. "
                f"Received: steps_per_epoch={self.steps_per_epoch}"
            )
        return steps or self.steps_per_epoch

    def _rate_at(self, progress):
        rate = self.schedule(progress)
        try:
            number = float(rate)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise ValueError(
                f"A schedule must return a finite rate, 0 or more; at {progress:.6g} epochs it did not. "
                f"Received: learning_rate={rate!r}"
            )
        return number

    def _set_rate(self, progress):
        rate = self._rate_at(progress)
        optimizer = self.model.optimizer  # through `self.model` each time: on JAX that fetches the state of the step
        try:
            optimizer.learning_rate = rate
        except (TypeError, AttributeError) as error:  # what Keras raises for the optimizers that the message names
            raise ValueError(
                f"The learning rate of this optimizer cannot be set. Compile the model with one optimizer made with a "
                f"number, such as SGD(learning_rate=0.1): not with a LearningRateSchedule or a function, nor with a "
                f"MultiOptimizer. Received: optimizer={type(optimizer).__name__}"
            ) from error
        return rate


def check_schedule(schedule):
    """ValueError unless `schedule` is a function of progress in epochs."""
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        raise ValueError(
            "A keras LearningRateSchedule counts steps, not epochs; give it to the optimizer instead of this callback. "
            f"Received: schedule={schedule!r}"
        )
    if not callable(schedule):
        raise ValueError(f"The schedule must be a function of progress in epochs. Received: schedule={schedule!r}")
    try:
        inspect.signature(schedule).bind(0.0)
    except ValueError:  # some built-in functions have no signature to look at
        return
    except TypeError as error:
        raise ValueError(
            "The schedule must take one argument, progress in epochs (float), and nothing else. "
            f"Received: schedule={schedule!r}"
        ) from error
