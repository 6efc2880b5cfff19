"""One-cycle schedules as callbacks that take their length from fit."""

from .one_cycle_schedules import one_cycle_cosine, one_cycle_triangle
from .scheduler import BatchLearningRateScheduler


class OneCycleTriangle(BatchLearningRateScheduler):
    """Takes the learning rate from 0 to `peak` and back to 0, in straight lines, a step at every batch.

    Args:
        peak: the optimizer's rate at the top.
        epochs: length of the triangle, in epochs. Default: the epochs of each `fit`. A `fit` that goes on for longer
            stays at 0.
        warmup_epochs: when the peak is reached, in epochs; 0 starts there. Default: max(1, (epochs + 1) // 5), but at
            most half of the run.
        verbose: 1 prints the rate that each epoch starts with. Default: 0.
        steps_per_epoch: batches an epoch. Needed only where `fit` cannot know it, as for a generator.
        start, end: the first and the last rate, as shares of the peak, 0 to 1. Default: 0.

    Attributes:
        schedule: the schedule, a `PiecewiseLinear`; without `epochs`, from the beginning of `fit` on.

    Raises:
        ValueError: as `one_cycle_triangle` and `BatchLearningRateScheduler` do.

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
        # Without `epochs` any length that holds the warm-up will do to check the other arguments.
        length = (warmup_epochs or 1) if epochs is None else epochs
        checked = one_cycle_triangle(peak, length, warmup_epochs, start, end)
        super().__init__(_unknown_before_fit if epochs is None else checked, verbose, steps_per_epoch)
        self.peak = peak
        self.epochs = epochs
        self.warmup_epochs = warmup_epochs
        self.start, self.end = start, end

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        epochs = (self.params or {}).get("epochs")
        if self.epochs is None and epochs != 0:
            self.schedule = one_cycle_triangle(self.peak, epochs, self.warmup_epochs, self.start, self.end)


class OneCycleCosine(BatchLearningRateScheduler):
    """Takes the learning rate up to `peak` and down to nearly 0, in half cosines: torch's `OneCycleLR`, step by step.

    Args:
        peak: the optimizer's rate at the top.
        epochs: length of the cycle, in epochs. Default: the epochs of each `fit`. A `fit` that goes on for longer stays
            at the last rate.
        pct_start, div_factor, final_div_factor: as those of `one_cycle_cosine`. Default: torch's, 0.3, 25 and 1e4.
        verbose: 1 prints the rate that each epoch starts with. Default: 0.
        steps_per_epoch: batches an epoch. Needed only where `fit` cannot know it, as for a generator.

    Attributes:
        schedule: the schedule, a `PiecewiseCosine`, from the beginning of `fit` on: torch's last step depends on the
            number of steps.

    Raises:
        ValueError: as `one_cycle_cosine` and `BatchLearningRateScheduler` do.

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
        self.peak = peak
        self.epochs = epochs
        self.pct_start = pct_start
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        epochs = (self.params or {}).get("epochs")
        if epochs != 0:
            shape = self.pct_start, self.div_factor, self.final_div_factor
            self.schedule = one_cycle_cosine(self.peak, self.epochs or epochs, *shape, self._steps)


def _unknown_before_fit(progress):
    raise ValueError(
        "The length of this one-cycle schedule comes from fit, and there is none before it begins; make it with "
        "one_cycle_triangle or one_cycle_cosine, or give OneCycleTriangle its epochs. Received: epochs=None"
    )
