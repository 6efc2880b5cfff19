"""The one-cycle triangle as a callback that takes its length from fit."""

from .scheduler import BatchLearningRateScheduler
from .schedules import one_cycle_triangle


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

    Attributes:
        schedule: the schedule, a `PiecewiseLinear`; without `epochs`, from the beginning of `fit` on.

    Raises:
        ValueError: as `one_cycle_triangle` and `BatchLearningRateScheduler` do.

    Example:
        model.fit(x, y, epochs=24, callbacks=[OneCycleTriangle(0.1)])

    Source: Smith and Topin, 2017, "Super-Convergence"; the triangle is the reference notebook's.
    """

    def __init__(self, peak, epochs=None, warmup_epochs=None, verbose=0, steps_per_epoch=None):
        # Without `epochs` any length that holds the warm-up will do to check the other arguments.
        checked = one_cycle_triangle(peak, (warmup_epochs or 1) if epochs is None else epochs, warmup_epochs)
        super().__init__(_unknown_before_fit if epochs is None else checked, verbose, steps_per_epoch)
        self.peak = peak
        self.epochs = epochs
        self.warmup_epochs = warmup_epochs

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self.epochs is None:
            self.schedule = one_cycle_triangle(self.peak, (self.params or {}).get("epochs"), self.warmup_epochs)

    def get_config(self):
        """The arguments."""
        names = ("peak", "epochs", "warmup_epochs", "verbose", "steps_per_epoch")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config):
        """The callback whose `get_config` gave `config`."""
        return cls(**config)


def _unknown_before_fit(progress):
    raise ValueError(
        "A OneCycleTriangle without epochs has no schedule before fit begins; give it the epochs. Received: epochs=None"
    )
