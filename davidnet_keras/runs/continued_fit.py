"""Let `model.fit` begin in the middle of an epoch, with the metrics and callbacks as they were.

`fit(initial_epoch=k)` begins at batch 0, resets all metrics and ends the epoch after `steps_per_epoch` batches. So the
first epoch passes over the batches already seen: `fit` counts them, but no data is drawn, no step is taken and no
callback is called. The data set begins at the first remaining batch.
"""

import warnings

import keras
import numpy as np

from davidnet_keras.runs.checkpoint import Progress

# The attributes that hold the state of Keras's own callbacks. Others have get_state and set_state.
_KERAS_CALLBACKS = {
    "EarlyStopping": ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
    "ModelCheckpoint": ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    "SwapEMAWeights": ("_ema_weights_in_model",),
}
_OPTIONAL = {"davidnet_callbacks.epoch_table.EpochTable"}  # absent with progress=False


class ContinuedCallbacks(keras.callbacks.CallbackList):
    """The callbacks of a run that continues after `progress`: a context, which `fit` takes in place of a list.

    Each callback that had state when the checkpoint was written gets it back by `set_state(state)`: after
    `on_train_begin` between two epochs, after `on_epoch_begin` inside one.

    When the context ends, by an exception too, the model is as `fit` found it: its own train function is back, and
    callbacks with a method `release()` have taken back what they changed for the training.

    Args:
        callbacks: list of `keras.callbacks.Callback`.
        model: the model to train.
        progress: `Progress`, where training begins.
        state: what `run_state` returned for the checkpoint; None for a new run.
        epochs, steps: int, as `fit` gets them.
    """

    def __init__(self, callbacks, model, progress, state, epochs, steps):
        super().__init__(list(callbacks), add_history=True, model=model, epochs=epochs, steps=steps, verbose=0)
        self._progress, self._state, self._epoch, self._skipping = progress, state, None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._skipping is not None:
            self._skipping.end()
        for callback in self.callbacks:
            if hasattr(callback, "release"):
                callback.release()

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
            self._skipping = _SkipBatches(self.model, self._progress.batches)

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


class _SkipBatches:
    """Replaces a model's train function for some batches, in which it does nothing; then the model's own returns.

    `fit` on TensorFlow hands the iterator itself to the train function, which draws the batch: here none is drawn.
    """

    def __init__(self, model, batches):
        self.model, self.left, self.train_function = model, batches, model.train_function
        model.train_function = self

    def __call__(self, iterator):
        self.left -= 1
        if not self.left:
            self.end()
        return self.model.get_metrics_result()

    def end(self):
        if self.model.train_function is self:
            self.model.train_function = self.train_function


def run_state(model, callbacks, metrics=None):
    """Return what a checkpoint holds beside the model: a dict for `ContinuedCallbacks`.

    Args:
        model: the model in training.
        callbacks: list of its callbacks.
        metrics: list of arrays from `metric_values`. Default: as they are now.
    """
    return {
        "metrics": metric_values(model) if metrics is None else metrics,
        "callbacks": callbacks_state(callbacks),
        "stopped": bool(model.stop_training),
    }


def metric_values(model):
    """Return the running sums of a model's metrics, as arrays."""
    return [variable.numpy() for variable in model.metrics_variables]


def make_metrics(model):
    """Create the metrics' variables, for integer labels; otherwise the first step would be traced twice for them."""
    model.compute_metrics(None, np.zeros(1, "int64"), np.zeros((1, model.output_shape[-1]), "float32"))
    model.reset_metrics()


def set_metrics(model, values):
    """Set the running sums of a model's metrics to what `metric_values` returned."""
    variables = model.metrics_variables
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise ValueError("The checkpoint was written with other metrics; train with the same ones.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def callbacks_state(callbacks):
    """Return `[class name, state]` of every callback that has state, in order."""
    states = ([_class_name(callback), _state_of(callback)] for callback in callbacks)
    return [[name, state] for name, state in states if state is not None]


def set_callbacks_state(callbacks, states):
    """Give each callback the state of the first of its class; warn of states that no callback takes."""
    left = list(states)
    for callback in callbacks:
        saved = next((item for item in left if item[0] == _class_name(callback)), None)
        if saved is None:
            continue
        if hasattr(callback, "set_state"):
            callback.set_state(saved[1])
        elif _known_attributes(callback):
            vars(callback).update(saved[1])
        else:
            continue
        left.remove(saved)
    for name in sorted({name for name, _ in left} - _OPTIONAL):
        warnings.warn(f"The run was begun with a callback {name}; pass one, or its state is lost.", stacklevel=2)


def _state_of(callback):
    if hasattr(callback, "get_state"):
        return callback.get_state()
    # Keras creates some of these when training begins.
    return {name: getattr(callback, name) for name in _known_attributes(callback) if hasattr(callback, name)} or None


def _known_attributes(callback):
    """Return the state attributes of a callback of Keras's own, or of a class derived from one."""
    kinds = (kind for kind in type(callback).__mro__ if kind.__module__.startswith("keras."))
    return next((_KERAS_CALLBACKS[kind.__name__] for kind in kinds if kind.__name__ in _KERAS_CALLBACKS), ())


def _class_name(callback):
    return f"{type(callback).__module__}.{type(callback).__qualname__}"


def data_start(progress, steps):
    """Return `(epoch, step)` of the first remaining batch: in the next epoch if all of this one's were seen."""
    return Progress(progress.epochs + 1) if progress.batches == steps else progress
