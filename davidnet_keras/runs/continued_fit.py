"""Let `model.fit` begin in the middle of an epoch, with the metrics and callbacks as they were."""

import warnings

import keras
import numpy as np

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

    `fit(initial_epoch=k)` begins at batch 0, so the batches already seen are passed over: `fit` counts them, but no
    data is drawn, no step is taken and no callback is called. The data set has to begin at the first remaining batch.

    Metrics and callbacks get the `state` of the checkpoint back (None for a new run): after `on_train_begin` between
    two epochs, after `on_epoch_begin` inside one. When the context ends, by an exception too, the model's own train
    function is back, and callbacks with a method `release()` have undone what they changed.
    """

    def __init__(self, callbacks, model, progress, state, epochs, steps):
        super().__init__(list(callbacks), add_history=True, model=model, epochs=epochs, steps=steps, verbose=0)
        self._progress, self._state, self._epoch, self._train_function = progress, state, None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end_skipping()
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
        if self._was_seen(0):
            set_callbacks_state(self.callbacks, self._state["callbacks"])
            set_metrics(self.model, self._state["metrics"])
            # On TensorFlow the train function draws the batches from an iterator: here none is drawn.
            self._train_function = self.model.train_function
            self.model.train_function = lambda iterator: self.model.get_metrics_result()

    def on_train_batch_begin(self, batch, logs=None):
        if not self._was_seen(batch):
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if not self._was_seen(batch):
            super().on_train_batch_end(batch, logs)
        elif not self._was_seen(batch + 1):
            self._end_skipping()

    def _was_seen(self, batch):
        return self._epoch == self._progress.epochs and batch < self._progress.batches

    def _end_skipping(self):
        if self._train_function is not None:
            self.model.train_function, self._train_function = self._train_function, None


def metric_values(model):
    """Return the running sums of a model's metrics, as arrays."""
    return [variable.numpy() for variable in model.metrics_variables]


def make_metrics(model):
    """Create the metrics' variables, for integer labels; otherwise the first step would be traced twice for them."""
    model.compute_metrics(None, np.zeros(1, "int64"), np.zeros((1, model.output_shape[-1]), "float32"))
    model.reset_metrics()


def set_metrics(model, values):
    """Set the running sums of a model's metrics to what `metric_values` returned."""
    if [tuple(variable.shape) for variable in model.metrics_variables] != [value.shape for value in values]:
        raise ValueError("The checkpoint was written with other metrics; train with the same ones.")
    for variable, value in zip(model.metrics_variables, values, strict=True):
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
        if saved is not None and (hasattr(callback, "set_state") or _known_attributes(callback)):
            getattr(callback, "set_state", vars(callback).update)(saved[1])
            left.remove(saved)
    for name in sorted({name for name, _ in left} - _OPTIONAL):
        warnings.warn(f"The run was started with a callback {name}; pass one, or its state is lost.", stacklevel=2)


def _state_of(callback):
    if hasattr(callback, "get_state"):
        return callback.get_state()
    # Keras creates some of these when training begins.
    return {name: getattr(callback, name) for name in _known_attributes(callback) if hasattr(callback, name)} or None


def _known_attributes(callback):
    """Return the state attributes of a callback of Keras's own, or of a class derived from one."""
    kinds = (kind.__name__ for kind in type(callback).__mro__ if kind.__module__.startswith("keras."))
    return next((_KERAS_CALLBACKS[kind] for kind in kinds if kind in _KERAS_CALLBACKS), ())


def _class_name(callback):
    return f"{type(callback).__module__}.{type(callback).__qualname__}"
