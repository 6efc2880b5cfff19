"""Average the weights while a model trains, batch normalisation's statistics among them."""

import keras
from keras import ops

from .arguments import whole_number
from .leftovers import at_next_fit, withdraw
from .model_state import is_built
from .running_average import RunningAverage, averaged_variables


class AveragingCallback(keras.callbacks.Callback):
    """What both share: the average, the steps at which it is brought up to date, its state for a resume.

    A subclass says in `_update` what happens at such a step, given the decay.
    """

    def __init__(self, every, decay, epochs):
        every = whole_number("every", every, 1)
        if not callable(decay):
            checked_decay(decay, "The decay")
        if epochs is not None and not epochs > 0:
            raise ValueError(f"The epochs must be above 0, or None for those of fit. Received: epochs={epochs!r}")
        super().__init__()
        self.every = every
        self.decay = decay
        self.epochs = epochs
        self._average = None

    def on_train_begin(self, logs=None):
        params = self.params or {}
        self._steps, self._step, self._before, self._average = params.get("steps"), 0, 0, None
        if params.get("epochs") == 0:
            return  # nothing to average
        self._total = self._steps and self._steps * (self.epochs or params["epochs"])
        if callable(self.decay) and not self._total:
            raise ValueError(
                f"{type(self).__name__} must know how many batches an epoch has, and this data does not say; pass "
                f"steps_per_epoch to fit. Received: decay={self.decay!r}, a function of the share of training done"
            )
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
                "The average must know the weights before the first step; build the model, by an Input layer or by "
                f"calling it on a batch. Received: model={self.model.name!r}, not built"
            )

    def on_epoch_begin(self, epoch, logs=None):
        if self._average is None:  # not before: another callback may load a checkpoint when training begins
            self._average = RunningAverage(averaged_variables(self.model))
        if self._steps:
            self._before = epoch * self._steps  # right after any resume

    def on_train_batch_end(self, batch, logs=None):
        self._step = self._before + batch + 1
        if self._step % self.every == 0:
            _ = self.model  # on JAX that brings the variables up to date, and makes the trainer read them again
            self._update(self._decay_now())

    def on_epoch_end(self, epoch, logs=None):
        self._before = self._step  # if the length of an epoch is not known

    def get_state(self):
        """The average and the steps that it has seen, for a run that is stopped; see `set_state`."""
        if self._average is None:
            return {"average": None}
        return {"average": self._average.arrays(), "mass": self._average.mass, "step": self._before}

    def set_state(self, state):
        """Go on from the average that `get_state` gave."""
        if state["average"] is not None:
            self._average = RunningAverage(averaged_variables(self.model), state["average"], state["mass"])
            self._before = self._step = state["step"]

    def _decay_now(self):
        if not callable(self.decay):
            return self.decay
        share = min(self._step / self._total, 1.0)
        return checked_decay(self.decay(share), f"At {share:.6g} of training the decay", function=True)


class Lookahead(AveragingCallback):
    """Every few steps moves a slow copy of the weights towards the weights, and sets the weights to it.

        slow = decay * slow + (1 - decay) * weights;   weights = slow

    At the end of training the weights are the slow copy: set with the very last step, so that the last validation is
    theirs, or when training ends early. The optimizer's own state goes on as if nothing had happened.

    Not together with a callback that sets the weights when training ends, such as EarlyStopping with
    `restore_best_weights`: the later of the two in the list would win.

    Args:
        every: int, steps from one update to the next, counted from the beginning of training. Default: 5.
        decay: share of the slow copy that an update keeps: a float in [0, 1), or a function that gets the share of
            training that is done (above 0, up to 1) and returns one in [0, 1]. Default: airbench94's
            `0.95**every * share**3`, which hardly holds back at first and averages more and more.
        epochs: how many epochs are all of training, for a function; needed where a run is to be extended later.
            Default: those of `fit`.

    Raises:
        ValueError: another kind of argument; when training begins, a model that is not built, an unknown number of
            steps (with a number as decay they need not be known), or a `steps_per_execution` that does not divide
            `every` and the batches of an epoch; at any time, a function that returns something else.

    Example:
        model.fit(x, y, epochs=8, callbacks=[OneCycleTriangle(0.1), Lookahead()])

    Source: Zhang et al., 2019, "Lookahead Optimizer: k steps forward, 1 step back", whose alpha is 1 - decay;
        KellerJordan/cifar10-airbench, airbench94, which averages batch statistics too.
    """

    def __init__(self, every=5, decay=None, epochs=None):
        super().__init__(every, self._published_decay if decay is None else decay, epochs)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self._step == self._last:
            _ = self.model
            self._average.put_in()

    def on_train_end(self, logs=None):
        if self._average is not None:
            _ = self.model
            self._average.put_in()
        self._average = None  # its memory

    def _update(self, decay):
        self._average.move(1 - decay)
        self._average.put_in()

    def _published_decay(self, share):
        return 0.95**self.every * share**3


class AverageWeights(AveragingCallback):
    """Keeps an exponential moving average of the weights aside, validates with it, and leaves it in the model.

        average = decay * average + (1 - decay) * weights,   without the bias of its start

    Training goes on with the weights as they are. Each validation of `fit` sees the average, and when training ends the
    average is what the model keeps. In between, where callbacks save at an epoch's end, the model has its own weights.
    So EarlyStopping with `restore_best_weights` would restore weights that were never validated, or the average would
    overwrite them: use one of the two.

    `use_ema=True` of Keras's optimizers does so for trainable weights only: batch normalisation then has the statistics
    of other weights than those that it is evaluated with.

    Args:
        decay: share of the average that an update keeps: a float in [0, 1), or a function that gets the share of
            training that is done (above 0, up to 1) and returns one in [0, 1]. The average looks back over about
            every / (1 - decay) steps. Default: 0.99.
        every: int, steps from one update to the next. Default: 1. On JAX, where an update makes the trainer write its
            state back, 10 costs less.
        epochs: how many epochs are all of training, for a function. Default: those of `fit`.

    Raises:
        ValueError: as `Lookahead` does.

    Example:
        model.fit(x, y, validation_data=(x_test, y_test), epochs=8, callbacks=[AverageWeights(0.99)])

    Source: Polyak and Juditsky, 1992, "Acceleration of stochastic approximation by averaging"; the correction of the
        start is that of Adam (Kingma and Ba, 2015, section 3).
    """

    def __init__(self, decay=0.99, every=1, epochs=None):
        super().__init__(every, decay, epochs)
        self._aside = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if "evaluate" not in vars(self.model):  # somebody may have put one on the object already
            self._own_evaluate = self.model.evaluate
            self.model.evaluate = self._evaluate  # by which fit validates
        at_next_fit(self.model, self._leave)

    def _evaluate(self, *arguments, **options):
        """The model's own `evaluate`; should an exception end it, the model has its own weights back at once."""
        try:
            return self._own_evaluate(*arguments, **options)
        finally:
            self.on_test_end()

    def _leave(self):
        withdraw(self._model, self._leave)
        if vars(self._model).get("evaluate") == self._evaluate:
            del self._model.evaluate
        self._average = None  # its memory

    def on_test_begin(self, logs=None):
        if self._average is not None and self._average.mass:
            _ = self.model
            self._aside = [ops.copy(ops.stop_gradient(variable)) for variable in self._average.variables]
            self._average.put_in()

    def on_test_end(self, logs=None):
        if self._aside is not None:
            _ = self.model
            for variable, value in zip(self._average.variables, self._aside, strict=True):
                variable.assign(value)
            self._aside = None

    def on_train_end(self, logs=None):
        if self._average is not None and self._average.mass:
            _ = self.model
            self._average.put_in()
        self._leave()

    def _update(self, decay):
        self._average.add(decay)


def checked_decay(value, what, function=False):
    """`value` as a float; ValueError that opens with `what` unless it lies in [0, 1), or [0, 1] for a function's."""
    number = float(value) if isinstance(value, (int, float)) or getattr(value, "shape", None) == () else -1.0
    if not (0 <= number < 1 or (function and number == 1)):
        allowed = "of 0 to 1" if function else "of 0 or more and below 1"
        raise ValueError(f"{what} must be a number {allowed}. Received: decay={value!r}")
    return number
