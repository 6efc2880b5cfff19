"""Average the weights while a model trains, batch normalisation's statistics among them."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from .arguments import whole_number
from .model_state import RunningAverage, at_next_fit, is_built, withdraw


class AveragingCallback(keras.callbacks.Callback):
    """An average that a subclass's `_update(decay)` updates every few steps, and its state for a resume."""

    def __init__(self, every: int, decay: float | Callable[[float], float], epochs: float | None) -> None:
        every = whole_number("every", every, 1)
        if not callable(decay):
            _checked_decay(decay, "The decay")
        if epochs is not None and not epochs > 0:
            raise ValueError(f"The epochs must be above 0, or None for those of fit. Received: epochs={epochs!r}")
        super().__init__()
        self.every, self.decay, self.epochs = every, decay, epochs
        self._average: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        params = self.params or {}
        self._steps, self._step, self._before, self._average = params.get("steps"), 0, 0, None
        if params.get("epochs") == 0:
            return  # nothing to average
        self._total = self._steps and self._steps * (self.epochs or params["epochs"])
        if callable(self.decay) and not self._total:
            reason = "A decay that is a function needs the number of batches per epoch"
            raise ValueError(f"{reason}; pass steps_per_epoch to fit. Received: decay={self.decay!r}")
        several = getattr(self.model, "steps_per_execution", 1) or 1
        if several > 1 and (self.every % several or not self._steps or self._steps % several):
            raise ValueError(
                "Callbacks cannot interrupt the steps of one execution; make every, and the batches of an epoch, "
                f"multiples of steps_per_execution. Received: steps_per_execution={several}, "
                f"every={self.every}, batches={self._steps}"
            )
        self._last = self._steps and self._steps * params.get("epochs", 0)
        if not is_built(self.model):
            raise ValueError(
                "The average starts from the weights before the first step; build the model, by an Input layer or by "
                f"calling it on a batch. Received: model={self.model.name!r}, not built"
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._average is None:  # not before: another callback may load a checkpoint when training begins
            self._average = RunningAverage(self.model)
        if self._steps:
            self._before = epoch * self._steps  # right after any resume

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._step = self._before + batch + 1
        if self._step % self.every == 0:
            _ = self.model  # on JAX this updates the variables, and makes the trainer read them again
            self._update(self._decay_now())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._before = self._step  # if the length of an epoch is not known

    def get_state(self) -> dict[str, Any]:
        """The average and the number of steps in it, to resume an interrupted run; see `set_state`."""
        if self._average is None:
            return {"average": None}
        return {"average": self._average.arrays(), "mass": self._average.mass, "step": self._before}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from the average that `get_state` returned."""
        if state["average"] is not None:
            self._average = RunningAverage(self.model, state["average"], state["mass"])
            self._before = self._step = state["step"]

    def _put_in(self):
        _ = self.model
        self._average.put_in()

    def _decay_now(self):
        if not callable(self.decay):
            return self.decay
        share = min(self._step / self._total, 1.0)
        return _checked_decay(self.decay(share), f"At {share:.6g} of training the decay", function=True)


class Lookahead(AveragingCallback):
    """Every few steps moves a slow copy of the weights towards the weights, and sets the weights to it.

        slow = decay * slow + (1 - decay) * weights;   weights = slow

    Training ends with the slow copy as the weights, and the last validation sees it. The optimizer's state stays.
    Not with EarlyStopping's `restore_best_weights`, which sets the weights too: the later in the list would win.

    Args:
        every: int, steps between updates, counted from the beginning of training. Default: 5.
        decay: share of the slow copy that an update keeps: a float in [0, 1), or a function of the share of training
            done (above 0, up to 1) that returns one in [0, 1]. Default: airbench94's `0.95**every * share**3`.
        epochs: length of the whole training, for a function, if a run is to be extended later. Default: that of `fit`.

    Raises:
        ValueError: a bad argument, a model that is not built, an unknown number of steps if `decay` is a function, or
            a `steps_per_execution` that does not divide `every` and the batches of an epoch.

    Example:
        model.fit(x, y, epochs=8, callbacks=[OneCycleTriangle(0.1), Lookahead()])

    Source: Zhang et al., 2019, "Lookahead Optimizer: k steps forward, 1 step back", whose alpha is 1 - decay;
        KellerJordan/cifar10-airbench, airbench94, which averages batch statistics too.
    """

    def __init__(
        self, every: int = 5, decay: float | Callable[[float], float] | None = None, epochs: float | None = None
    ) -> None:
        super().__init__(every, self._published_decay if decay is None else decay, epochs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_end(batch, logs)
        if self._step == self._last:
            self._put_in()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._average is not None:
            self._put_in()
        self._average = None  # its memory

    def _update(self, decay):
        self._average.move(1 - decay)
        self._average.put_in()

    def _published_decay(self, share):
        return 0.95**self.every * share**3


class AverageWeights(AveragingCallback):
    """Keeps an exponential moving average of the weights aside, validates with it, and leaves it in the model.

        average = decay * average + (1 - decay) * weights,   corrected for the bias of its start

    Each validation of `fit` sees the average, and when training ends the model keeps it. Callbacks that save at an
    epoch's end see the model's own weights: EarlyStopping's `restore_best_weights` would restore some never validated.

    Args:
        decay: as for `Lookahead`; the average spans about every / (1 - decay) steps.
        every: int, steps between updates. On JAX an update makes the trainer write its state back: 10 costs less.
        epochs: as for `Lookahead`.

    Example:
        model.fit(x, y, validation_data=(x_test, y_test), epochs=8, callbacks=[AverageWeights(0.99)])

    Source: Polyak and Juditsky, 1992, "Acceleration of stochastic approximation by averaging"; the correction is that
        of Adam (Kingma and Ba, 2015, section 3).
    """

    def __init__(
        self, decay: float | Callable[[float], float] = 0.99, every: int = 1, epochs: float | None = None
    ) -> None:
        super().__init__(every, decay, epochs)
        self._aside: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        replaced = vars(self.model).get("evaluate")  # the user may have replaced it on the object already
        if isinstance(getattr(replaced, "__self__", None), AverageWeights):
            raise ValueError(f"One fit takes one AverageWeights; leave out the other. Received: {self!r}")
        if replaced is None:
            self._own_evaluate = self.model.evaluate
            self.model.evaluate = self._evaluate  # by which fit validates
        at_next_fit(self.model, self._leave)

    def _evaluate(self, *arguments, **options):
        """The model's own `evaluate`; if an exception ends it, the model gets its own weights back at once."""
        try:
            return self._own_evaluate(*arguments, **options)
        finally:
            self.on_test_end()

    def _leave(self):
        withdraw(self._model, self._leave)
        if vars(self._model).get("evaluate") == self._evaluate:
            del self._model.evaluate
        self._average = None  # its memory

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._average is not None and self._average.mass:
            _ = self.model
            self._aside = [ops.copy(ops.stop_gradient(variable)) for variable in self._average.variables]
            self._average.put_in()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._aside is not None:
            _ = self.model
            for variable, value in zip(self._average.variables, self._aside, strict=True):
                variable.assign(value)
            self._aside = None

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._average is not None and self._average.mass:
            self._put_in()
        self._leave()

    def _update(self, decay):
        self._average.add(decay)


def _checked_decay(value, what, function=False):
    """`value` as a float; ValueError that opens with `what` unless it lies in [0, 1), or [0, 1] for a function's."""
    number = float(value) if isinstance(value, (int, float)) or getattr(value, "shape", None) == () else -1.0
    if not (0 <= number < 1 or (function and number == 1)):
        allowed = "from 0 to 1" if function else "of 0 or more and below 1"
        raise ValueError(f"{what} must be a number {allowed}. Received: decay={value!r}")
    return number
