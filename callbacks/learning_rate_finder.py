"""Find a learning rate: train a little at rates that grow, and watch the loss."""

import math
from typing import Any, cast

import keras
import numpy as np
from keras import ops

from .batch_schedule import iterations_of, learning_rate_variable
from .learning_rate_sweep import LearningRateSweep, check_sweep, smoothed
from .model_state import ModelState, at_next_fit, is_built, other_optimizers, withdraw


def find_learning_rate(model: keras.Model, x: Any = None, y: Any = None, **options: Any) -> LearningRateSweep:
    """Sweep over learning rates on some batches of the data, and leave the model exactly as it was.

    Args:
        model: a compiled `keras.Model`. If it is not built yet, it is built from the first batch.
        x, y: as for `fit`: arrays, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`. Data that ends
            before the sweep is repeated.
        **options: those of `LearningRateFinder`; all others go to `fit`, such as `batch_size` and `class_weight`.

    Raises:
        ValueError: as `LearningRateFinder`. The model is restored then too, as after any other exception.

    Example:
        find_learning_rate(model, x, y, batch_size=512).suggestions["valley"]
    """
    unfit = ("callbacks", "epochs", "initial_epoch", "validation_data", "validation_split")
    if refused := [f"{name}={options[name]!r}" for name in unfit if name in options]:
        raise ValueError(
            "A sweep needs no validation and no other callback, and its length is `steps`; leave these options out. "
            f"Received: {', '.join(refused)}"
        )
    own = ("lowest", "highest", "steps", "scale", "smoothing", "divergence")
    finder = LearningRateFinder(**{name: options.pop(name) for name in own if name in options})
    options = {"verbose": 0} | options
    if not is_built(model):
        # Keras builds it in the middle of the first step, too late to copy the weights. This changes no weight.
        kept = ("batch_size", "sample_weight", "verbose")
        model.evaluate(x, y, steps=1, **{name: options[name] for name in kept if name in options})
        model.reset_metrics()
    try:
        # Enough epochs even for one batch in each. The finder stops when it is done.
        model.fit(x, y, epochs=finder.steps, callbacks=[finder], **options)
    finally:
        finder.restore()
    return cast(LearningRateSweep, finder.result)  # without one, fit has raised


class LearningRateFinder(keras.callbacks.Callback):
    """Raises the rate with every batch of a `fit`, records the loss, ends the `fit` and restores the model.

    After it the weights, batch statistics, optimizer state and rate, metrics and the model's seed generators are what
    they were before, bit by bit; generators outside the model have advanced. If an exception ends `fit`, call
    `restore()`, as `find_learning_rate` does. Otherwise the model's next `fit` restores it, unless weights were loaded
    in between; a learning rate set in between stays.

    The loss is the one that `fit` shows, of this batch alone. With `steps_per_execution=n` a rate is held for n
    batches, and their mean loss recorded.

    Args:
        lowest: the first rate, above 0 for the exponential scale. Default: 1e-7.
        highest: the last rate. Default: 10.
        steps: how many rates. Default: 100.
        scale: "exponential" multiplies the rate by a constant each time, "linear" adds one. Default: "exponential".
        smoothing: of the loss, in [0, 1); the average spans about 1 / (1 - smoothing) batches. Default: 0.8.
        divergence: the sweep ends once the smoothed loss is this many times its lowest, or not finite. Default: 4.

    Attributes:
        result: the `LearningRateSweep`, once `fit` has ended.

    Raises:
        ValueError: an argument out of range; an optimizer whose rate cannot be set, a model that is not built, fewer
            batches than steps, a scheduler in the same `fit`, or a first loss that is not finite.

    Example:
        model.fit(x, y, epochs=2, callbacks=[finder := LearningRateFinder()])

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
        self.steps, self.scale, self.smoothing, self.divergence = steps, scale, smoothing, divergence
        space = np.geomspace if scale == "exponential" else np.linspace
        self.rates = space(lowest, highest, steps).tolist()
        self.result: LearningRateSweep | None = None
        self._state: ModelState | None = None

    def restore(self) -> None:
        """Restore the model to where it was when `fit` began. Needed only after an exception, harmless otherwise."""
        if self._state is not None:
            model = self.model  # on JAX that ends what the trainer still holds, which would be written back later
            self._state.restore()
            withdraw(model, self._restore_late)

    def _restore_late(self):
        """Restore the model before another `fit`, but keep what the user has set since."""
        rate = self._read_rate()
        steps, weights = self._mark
        one_more = 0 < (iterations_of(self._model.optimizer) or 0) - (steps or 0) <= self._several
        if not one_more and not all(map(np.array_equal, weights, _weights(self._model))):
            return  # not only the train step has changed the weights since the last batch
        self.restore()
        if rate != self._rate_now:
            self._variable().assign(rate)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        params = self.params or {}
        self._began, self._ended = False, False
        self._losses: list[float] = []
        self._smoothed: list[float] = []
        self._average = 0.0
        if params.get("epochs") == 0:
            return
        self._variable()
        if others := other_optimizers(self.model):
            raise ValueError(
                "The finder restores only the optimizer that the model was compiled with, and this model has others; "
                f"use a model with one. Received: {', '.join(others)}"
            )
        if not is_built(self.model):
            raise ValueError(
                "The finder must copy the weights before the first step; build the model, by calling it on a batch, or "
                f"use find_learning_rate, which does. Received: model={self.model.name!r}, not built"
            )
        self._several = getattr(self.model, "steps_per_execution", 1) or 1
        executions = math.ceil((params.get("steps") or math.inf) / self._several)
        if executions * params.get("epochs", math.inf) < self.steps:
            epochs = math.ceil(self.steps / executions)
            remedy = f"run it for {epochs} epochs, or lower the steps"
            raise ValueError(f"This fit has too few batches for the sweep; {remedy}. Received: steps={self.steps}")
        self.result, self._state = None, ModelState(self.model)
        self._note()
        at_next_fit(self.model, self._restore_late)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = True

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._check_rate()
        self._variable().assign(self.rates[len(self._losses)])
        self.model.reset_metrics()
        self._note()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._check_rate()
        if "loss" not in (logs := logs or {}):
            self.restore()
            raise ValueError(
                "The finder watches the loss, and this model's train_step returns none of that name; return one. "
                f"Received: logs of {', '.join(logs) or 'nothing'}"
            )
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            if not self._losses:
                self.restore()
                raise ValueError(
                    "The very first loss is not finite; check the data and the loss, or lower the lowest rate. "
                    f"Received: loss={loss}, lowest={self.rates[0]:g}"
                )
            self._ended = self.model.stop_training = True
            return
        self._losses.append(loss)
        self._average, average = smoothed(self._average, loss, self.smoothing, len(self._losses))
        self._smoothed.append(average)
        best = min(self._smoothed)
        diverged = average > best + (self.divergence - 1) * abs(best)  # a loss below 0 can diverge too
        if diverged or len(self._losses) == self.steps:
            self._ended = self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.restore()
        found = len(self._losses)
        if not self._began:
            return  # fit(epochs=0), or an initial_epoch that is the last
        if not self._ended:
            reason = f"Training ended after {found} batches, before the sweep did; give it more data, or fewer steps"
            raise ValueError(f"{reason}. Received: steps={self.steps}")
        self._state = None  # its memory
        rates = tuple(self.rates[:found])
        self.result = LearningRateSweep(rates, tuple(self._losses), tuple(self._smoothed), self.scale)

    def _variable(self):
        return learning_rate_variable(self.model.optimizer)

    def _read_rate(self):
        return float(ops.convert_to_numpy(self._variable()))

    def _note(self):
        """Remember the rate, the steps taken and the weights, to detect changes by anyone else."""
        self._rate_now = self._read_rate()
        self._mark = iterations_of(self.model.optimizer), _weights(self.model)

    def _check_rate(self):
        """ValueError if the rate is no longer the one that was last set."""
        rate = self._read_rate()
        if rate != self._rate_now:
            self.restore()
            raise ValueError(
                "Something else sets the learning rate in this fit; run the finder without any scheduler. "
                f"Received: learning_rate={rate:g} where the finder had set {self._rate_now:g}"
            )


def _weights(model):
    return [np.array(ops.convert_to_numpy(weight)) for weight in model.trainable_variables]
