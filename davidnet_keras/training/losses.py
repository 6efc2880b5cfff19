"""Losses: cross-entropy with label smoothing for class numbers, and the copies that `SumLossModel` adds up."""

import copy
from typing import Any

import keras
from keras import ops

from davidnet_keras.errors import number


@keras.saving.register_keras_serializable(package="davidnet_keras")
class SmoothedCrossentropy(keras.losses.Loss):
    """Softmax cross-entropy against (1 - s) of the labelled class plus s spread evenly over all classes.

        loss = (1 - s) * crossentropy(y)  +  s * mean over classes k of crossentropy(k)

    Keras smooths one-hot targets only (`CategoricalCrossentropy(label_smoothing=s)`); this takes class numbers, makes
    no one-hot tensor, and with s = 0 equals `SparseCategoricalCrossentropy`. It computes in float32 or float64.

    Shapes: y_true (batch, ...) or (batch, ..., 1), y_pred (batch, ..., classes) -> (batch, ...) before the reduction.

    Args:
        label_smoothing: s above, in [0, 1).
        from_logits: whether predictions are logits rather than probabilities.
        reduction, name: as for every Keras loss.

    Source: Szegedy et al., 2016, "Rethinking the Inception Architecture", section 7.
    """

    def __init__(
        self,
        label_smoothing: float = 0.2,
        from_logits: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "smoothed_crossentropy",
    ) -> None:
        wide = "float64" if keras.config.floatx() == "float64" else "float32"
        super().__init__(name=name, reduction=reduction, dtype=wide)
        self.label_smoothing = number("label_smoothing", label_smoothing, below=1)
        self.from_logits = bool(from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each example; Keras casts both arguments to this loss's dtype."""
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] != 1:
            raise ValueError(
                "SmoothedCrossentropy takes class numbers; for one-hot targets use keras.losses.CategoricalCrossentropy"
                f"(label_smoothing={self.label_smoothing}). Received: y_true.shape={tuple(y_true.shape)}"
            )
        logits = y_pred
        if not self.from_logits:
            epsilon = keras.config.epsilon()  # as in Keras's own: no logarithm of 0
            logits = ops.log(ops.clip(y_pred, epsilon, 1 - epsilon))
        # The backend's kernel for the first part: its gradient needs no gather, and it refuses impossible labels.
        labelled = ops.sparse_categorical_crossentropy(y_true, logits, from_logits=True)
        if not self.label_smoothing:
            return labelled
        spread = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
        return (1 - self.label_smoothing) * labelled + self.label_smoothing * spread

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"label_smoothing": self.label_smoothing, "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class NamedLoss(keras.losses.Loss):
    """A loss that Keras has only as a function, by its name ("sparse_categorical_crossentropy", "mse")."""

    def __init__(self, name: str, reduction: str | None = "sum", **kwargs: Any) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.function = keras.losses.get(name)

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def summed(loss: keras.losses.Loss | str) -> keras.losses.Loss:
    """A copy of a Keras loss, or of the one with that name, with reduction "sum"; ValueError for any other."""
    if isinstance(loss, str):
        found = keras.losses.get(loss)
        loss = found if isinstance(found, keras.losses.Loss) else NamedLoss(loss)
    reduction = getattr(loss, "reduction", None)
    if not isinstance(loss, keras.losses.Loss) or reduction not in ("sum", "mean", "sum_over_batch_size"):
        raise ValueError(
            "SumLossModel.compile takes one keras.losses.Loss or the name of one (wrap a function in a subclass); its "
            f"reduction must be one of sum, mean, sum_over_batch_size. Received: loss={loss!r}, reduction={reduction!r}"
        )
    loss = copy.copy(loss)
    loss.reduction = "sum"
    return loss
