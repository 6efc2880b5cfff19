"""Set the momentum before every batch."""

from .batch_schedule import BatchSchedule, check_schedule, momentum_variable


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

    def __init__(self, schedule, steps_per_epoch=None):
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
