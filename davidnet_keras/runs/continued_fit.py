"""Make `model.fit` begin in the middle of an epoch.

`fit(initial_epoch=k)` begins at a batch 0: it sets all metrics back, counts the batches from 0 and ends the epoch after
`steps_per_epoch`. A `fit` of the remaining steps and another of the remaining epochs would begin and end training twice
and tell callbacks wrong batch numbers and steps. So there is one `fit`, whose first epoch passes over the batches that
were seen: `fit` still counts them, but no data is drawn, no step is taken and no callback is called. The data set
begins at the first batch that is left, and the metrics get back the sums that they had.
"""

import warnings

import keras
import numpy as np

from davidnet_keras.runs.checkpoint import Progress

# The attributes in which Keras's own callbacks keep what they know. Others say it by get_state and set_state.
KERAS_CALLBACKS = {
    "EarlyStopping": ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
    "ModelCheckpoint": ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    "SwapEMAWeights": ("_ema_weights_in_model",),
}


class ContinuedCallbacks(keras.callbacks.CallbackList):
    """The callbacks of a run that goes on after `progress`; `fit` takes it in place of a list.

    Whatever has state joins here: variables of the model and its optimizer are in the checkpoint already; a callback
    gives its own by `get_state()`, a dict of plain values and NumPy arrays, and gets it back by `set_state(state)`:
    after `on_train_begin` at the start of an epoch, after `on_epoch_begin` inside one. At that moment it knows what it
    knew when the checkpoint was written.

    Args:
        callbacks: list of `keras.callbacks.Callback`.
        model: the model to train.
        progress: `Progress`, where training begins.
        state: what `run_state` gave when the checkpoint was written; None for a new run.
        epochs, steps: int, as `fit` gets them.
    """

    def __init__(self, callbacks, model, progress, state, epochs, steps):
        super().__init__(list(callbacks), add_history=True, model=model, epochs=epochs, steps=steps, verbose=0)
        self._progress, self._state, self._epoch = progress, state, None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self._state is not None and not self._progress.batches:
            set_callbacks_state(self.callbacks, self._state["callbacks"])

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        super().on_epoch_begin(epoch, logs)
        if self._begins_inside():
            set_callbacks_state(self.callbacks, self._state["callbacks"])
            set_metrics(self.model, self._state["metrics"])
            self.model.train_function = PassOver(self.model, self._progress.batches)

    def on_train_batch_begin(self, batch, logs=None):
        if not self._was_seen(batch):
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if not self._was_seen(batch):
            super().on_train_batch_end(batch, logs)

    def _begins_inside(self):
        return self._progress.batches > 0 and self._epoch == self._progress.epochs

    def _was_seen(self, batch):
        return self._begins_inside() and batch < self._progress.batches


class PassOver:
    """Stands in for a model's train function for some batches, in which it does nothing; then the model's own returns.

    `fit` on TensorFlow hands the iterator itself to the train function, which draws the batch: none is drawn here.
    """

    def __init__(self, model, batches):
        self.model, self.left, self.train_function = model, batches, model.train_function

    def __call__(self, iterator):
        self.left -= 1
        if not self.left:
            self.model.train_function = self.train_function
        return self.model.get_metrics_result()


def run_state(model, callbacks, metrics=None):
    """What a checkpoint has to hold beside the model: a dict for `ContinuedCallbacks`.

    Args:
        model: the model that is being trained.
        callbacks: list of its callbacks.
        metrics: list of arrays from `metric_values`; None: as they are now.
    """
    return {
        "metrics": metric_values(model) if metrics is None else metrics,
        "callbacks": callbacks_state(callbacks),
        "stopped": bool(model.stop_training),
    }


def metric_values(model):
    """The metrics' running sums, as arrays."""
    return [variable.numpy() for variable in model.metrics_variables]


def make_metrics(model):
    """Make the variables of a model's metrics, for labels that are class numbers.

    Keras makes them with the first batch: while it traces the step, which it then traces a second time.
    """
    # A batch that nobody sees will do.
    model.compute_metrics(None, np.zeros(1, "int64"), np.zeros((1, model.output_shape[-1]), "float32"))
    model.reset_metrics()


def set_metrics(model, values):
    """Give a model's metrics, made already, the running sums that `metric_values` returned."""
    variables = model.metrics_variables
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise ValueError("The checkpoint was written with other metrics; train with those of then.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def callbacks_state(callbacks):
    """[class, state] of every callback that has any, in their order."""
    states = ([class_of(callback), state_of(callback)] for callback in callbacks)
    return [[name, state] for name, state in states if state is not None]


def set_callbacks_state(callbacks, states):
    """Give each callback the state that one of its class had, in order; a state that nobody takes is warned of."""
    left = list(states)
    for callback in callbacks:
        mine = next((item for item in left if item[0] == class_of(callback)), None)
        if mine is not None and (hasattr(callback, "set_state") or known_attributes(callback)):
            left.remove(mine)
            give_state(callback, mine[1])
    for name in sorted({name for name, _ in left} - {"davidnet_callbacks.epoch_table.EpochTable"}):  # progress=False
        warnings.warn(f"The run was begun with a callback {name}; pass one, or what it knew is lost.", stacklevel=2)


def state_of(callback):
    """A callback's state; None if it has none that is known."""
    if hasattr(callback, "get_state"):
        return callback.get_state()
    # Keras makes some of them when training begins.
    known = {name: getattr(callback, name) for name in known_attributes(callback) if hasattr(callback, name)}
    return known or None


def give_state(callback, state):
    """Hand a callback its state."""
    if hasattr(callback, "set_state"):
        callback.set_state(state)
    else:
        vars(callback).update(state)


def known_attributes(callback):
    """The attributes to keep of a callback of Keras's own, or of a class derived from one."""
    kinds = (kind for kind in type(callback).__mro__ if kind.__module__.startswith("keras."))
    return next((KERAS_CALLBACKS[kind.__name__] for kind in kinds if kind.__name__ in KERAS_CALLBACKS), ())


def class_of(callback):
    """A callback's class, by its full name."""
    return f"{type(callback).__module__}.{type(callback).__qualname__}"


def data_start(progress, steps):
    """(epoch, step) of the first batch that is left: the next epoch's where all of this one's were seen."""
    return Progress(progress.epochs + 1) if progress.batches == steps else progress
