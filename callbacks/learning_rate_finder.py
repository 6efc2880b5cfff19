"""Find a learning rate: train a little at rates that grow, and watch the loss."""

import math
from typing import Any, cast

import keras
import numpy as np
from keras import ops

from .batch_schedule import iterations_of, learning_rate_variable
from .learning_rate_sweep import LearningRateSweep, check_sweep, smoothed
from .leftovers import at_next_fit, withdraw
from .model_state import ModelState, is_built, other_optimizers

REFUSED = ("callbacks", "epochs", "initial_epoch", "validation_data", "validation_split")


def find_learning_rate(model: keras.Model, x: Any = None, y: Any = None, **options: Any) -> LearningRateSweep:
    """Sweep over learning rates on some batches of the data, and leave the model exactly as it was.

    Args:
        model: a compiled `keras.Model`. One that is not built yet is built from the first batch.
        x, y: as for `fit`: arrays, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`. Data that ends
            before the sweep is gone through again.
        **options: those of `LearningRateFinder`; all others go to `fit`, such as `batch_size` and `class_weight`.

    Returns:
        `LearningRateSweep`.

    Raises:
        ValueError: as `LearningRateFinder`; an option of `fit` that makes no sense here; data that runs out. The model
            is restored then too, as after any other exception.

    Example:
        sweep = find_learning_rate(model, x, y, batch_size=512)
        print(sweep.suggestions)
        sweep.plot().savefig("lr_find.png")
    """
    if refused := [name for name in REFUSED if name in options]:
        raise ValueError(
            "A sweep needs no validation and no other callback, and its length is `steps`; leave these options out. "
            f"Received: {', '.join(f'{name}={options[name]!r}' for name in refused)}"
        )
    own = ("lowest", "highest", "steps", "scale", "smoothing", "divergence")
    finder = LearningRateFinder(**{name: options.pop(name) for name in own if name in options})
    options = {"verbose": 0} | options
    if not is_built(model):
        # Keras builds it in the middle of the first step, too late to know the weights before. This changes no weight.
        kept = ("batch_size", "sample_weight", "verbose")
        model.evaluate(x, y, steps=1, **{name: options[name] for name in kept if name in options})
        model.reset_metrics()
    try:
        # As many epochs as it takes: with one batch in each it would be these. The finder stops when it is done.
        model.fit(x, y, epochs=finder.steps, callbacks=[finder], **options)
    finally:
        finder.restore()
    return cast(LearningRateSweep, finder.result)  # without one, fit has raised


class LearningRateFinder(keras.callbacks.Callback):
    """Raises the rate with every batch of a `fit`, records the loss, ends the `fit` and puts everything back.

    After it the weights, batch normalisation's statistics, the optimizer's state and rate, the metrics and the model's
    seed generators are, bit by bit, what they were before. What draws from a generator outside the model has moved on:
    the shuffling of arrays, and on torch dropout without a seed. If an exception ends `fit`, call `restore()`, as
    `find_learning_rate` does. Otherwise the model's next `fit` begins with it, unless weights were loaded in between;
    a learning rate that was set in between stays.

    The loss of each batch is the one that `fit` shows, with the metrics reset before every batch; the device is waited
    for once a batch, for that number. With `steps_per_execution=n` a rate is held for n batches, and their mean loss
    recorded.

    Args:
        lowest: the first rate, above 0 for the exponential scale. Default: 1e-7.
        highest: the last rate. Default: 10.
        steps: how many rates. Default: 100.
        scale: "exponential" multiplies the rate by the same factor each time, "linear" adds the same. Default:
            "exponential".
        smoothing: of the loss, in [0, 1); the average looks back about 1 / (1 - smoothing) batches. Default: 0.8.
        divergence: the sweep ends once the smoothed loss is so many times its lowest, or no finite number. Default: 4.

    Attributes:
        result: the `LearningRateSweep`, once `fit` has ended.

    Raises:
        ValueError: rates that do not increase, fewer than 10 steps, another scale, a smoothing or divergence out of
            range; when training begins, an optimizer without a rate that can be set, a model that is not built, or a
            `fit` of fewer batches than steps; during it, a scheduler in the same `fit`, a loss that is no number from
            the start, or data that runs out.

    Example:
        finder = LearningRateFinder()
        model.fit(x, y, epochs=2, callbacks=[finder])
        finder.result.suggestions

    Source: Smith, 2015, "Cyclical Learning Rates for Training Neural Networks", section 3.3; fastai's `lr_find`.
    """

    def __init__(
        self,
        lowest: float = 1e-7,
        highest: float = 10.0,
        steps: int = 100,
        scale: str = "exponential",
        smoothing: float = 0.8,
        divergence: float = 4.0,
    ) -> None:
        super().__init__()
        check_sweep(lowest, highest, steps, scale, smoothing, divergence)
        self.steps = steps
        self.scale = scale
        self.smoothing = smoothing
        self.divergence = divergence
        space = np.geomspace if scale == "exponential" else np.linspace
        self.rates = space(lowest, highest, steps).tolist()
        self.result: LearningRateSweep | None = None
        self._state = None

    def restore(self) -> None:
        """Put the model back where it was when `fit` began. Needed after an exception only; does no harm otherwise."""
        if self._state is not None:
            model = self.model  # on JAX that ends what the trainer still holds, else it would be written back later
            self._state.restore()
            withdraw(model, self._restore_late)

    def _restore_late(self):
        """Restore the model before another `fit`, but keep what was set since."""
        rate = self._read_rate()
        if self._touched():
            return
        self.restore()
        if rate != self._rate_now:
            self._variable().assign(rate)

    def _touched(self):
        """Whether somebody other than the train step has changed the weights since the last batch."""
        steps, weight = self._mark
        one_more = 0 < (iterations_of(self._model.optimizer) or 0) - (steps or 0) <= self._several
        return not one_more and not np.array_equal(weight, self._smallest_weight())

    def _smallest_weight(self):
        weights = self._model.trainable_variables or self._model.variables
        return np.array(ops.convert_to_numpy(min(weights, key=lambda weight: math.prod(weight.shape))))

    def on_train_begin(self, logs=None):
        self._began = False
        self._losses, self._ended = [], False
        if (self.params or {}).get("epochs") == 0:
            return
        self._variable()
        if others := other_optimizers(self.model):
            raise ValueError(
                "The finder moves and restores the optimizer that the model was compiled with, and this model has "
                f"others too; sweep over a model with one. Received: {', '.join(others)}"
            )
        if not is_built(self.model):
            raise ValueError(
                "The finder must know the weights before the first step; build the model, by calling it on a batch, or "
                f"use find_learning_rate, which does. Received: model={self.model.name!r}, not built"
            )
        params = self.params or {}
        self._several = getattr(self.model, "steps_per_execution", 1) or 1
        executions = math.ceil((params.get("steps") or math.inf) / self._several)
        if executions * params.get("epochs", math.inf) < self.steps:
            raise ValueError(
                "This fit has too few batches for the sweep; run it for "
                f"{math.ceil(self.steps / executions)} epochs, or lower the steps. Received: steps={self.steps}"
            )
        self.result, self._smoothed, self._average = None, [], 0.0
        self._state = ModelState(self.model)
        self._rate_now = self._read_rate()
        self._note()
        at_next_fit(self.model, self._restore_late)

    def on_epoch_begin(self, epoch, logs=None):
        self._began = True

    def on_train_batch_begin(self, batch, logs=None):
        self._check_rate()
        self._variable().assign(self.rates[len(self._losses)])
        self._rate_now = self._read_rate()
        self.model.reset_metrics()
        self._note()

    def _note(self):
        self._mark = iterations_of(self.model.optimizer), self._smallest_weight()

    def on_train_batch_end(self, batch, logs=None):
        self._check_rate()
        if "loss" not in (logs or {}):
            self.restore()
            raise ValueError(
                "The finder watches the loss, and this model's train_step returns none of that name; return one. "
                f"Received: logs of {', '.join(logs or {}) or 'nothing'}"
            )
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            if not self._losses:
                self.restore()
                raise ValueError(
                    "The very first loss is no finite number; check the data and the loss, or lower the lowest rate. "
                    f"Received: loss={loss}, lowest={self.rates[0]:g}"
                )
            self._end()
            return
        self._losses.append(loss)
        self._average, average = smoothed(self._average, loss, self.smoothing, len(self._losses))
        self._smoothed.append(average)
        best = min(self._smoothed)
        diverged = average > best + (self.divergence - 1) * abs(best)  # a loss below 0 can diverge too
        if diverged or len(self._losses) == self.steps:
            self._end()

    def on_train_end(self, logs=None):
        self.restore()
        found = len(self._losses)
        if not self._began:
            return  # fit(epochs=0), or an initial_epoch that is the last
        if not self._ended:
            raise ValueError(
                f"Training ended after {found} batches, before the sweep did; give it more data, or fewer steps. "
                f"Received: steps={self.steps}"
            )
        self._state = None  # its memory
        self.result = LearningRateSweep(
            tuple(self.rates[:found]), tuple(self._losses), tuple(self._smoothed), self.scale
        )

    def _end(self):
        self._ended = self.model.stop_training = True

    def _variable(self):
        return learning_rate_variable(self.model.optimizer)

    def _read_rate(self):
        return float(ops.convert_to_numpy(self._variable()))

    def _check_rate(self):
        """ValueError if the rate is no longer the one that was last set."""
        rate = self._read_rate()
        if rate != self._rate_now:
            self.restore()
            raise ValueError(
                "Something else sets the learning rate in this fit; run the finder without any scheduler. "
                f"Received: learning_rate={rate:g} where the finder had set {self._rate_now:g}"
            )
