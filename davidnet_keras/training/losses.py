"""Cross-entropy with label smoothing, for class numbers."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="davidnet_keras")
class SmoothedCrossentropy(keras.losses.Loss):
    """Softmax cross-entropy against (1 - s) of the labelled class plus s spread evenly over all classes.

        loss = (1 - s) * crossentropy(y)  +  s * mean over classes k of crossentropy(k)

    Keras smooths one-hot targets only (`CategoricalCrossentropy(label_smoothing=s)`); this takes class numbers as
    `SparseCategoricalCrossentropy` does, makes no one-hot tensor, and with s = 0 equals it. It computes in float32 or
    wider, whatever the predictions' dtype.

    Shapes: y_true (batch,) or (batch, 1), y_pred (batch, classes) -> (batch,) before the reduction. More dimensions may
    stand between.

    Args:
        label_smoothing: float in [0, 1), s above. Default 0.2.
        from_logits: bool, whether predictions are logits rather than probabilities. Default True.
        reduction: as for every Keras loss. Default "sum_over_batch_size".
        name: str. Default "smoothed_crossentropy".

    Raises:
        ValueError: a smoothing outside [0, 1); one-hot targets.

    Example:
        model.compile("sgd", SmoothedCrossentropy(0.2), metrics=["accuracy"])

    Source: Szegedy et al., 2016, "Rethinking the Inception Architecture", section 7.
    """

    def __init__(
        self,
        label_smoothing=0.2,
        from_logits=True,
        reduction="sum_over_batch_size",
        name="smoothed_crossentropy",
    ):
        if isinstance(label_smoothing, bool) or not isinstance(label_smoothing, (int, float)):
            raise ValueError(f"The label smoothing must be a number. Received: label_smoothing={label_smoothing!r}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"The label smoothing must be at least 0 and below 1. Received: label_smoothing={label_smoothing}"
            )
        wide = "float64" if keras.config.floatx() == "float64" else "float32"
        super().__init__(name=name, reduction=reduction, dtype=wide)
        self.label_smoothing = float(label_smoothing)
        self.from_logits = bool(from_logits)

    def call(self, y_true, y_pred):
        """The loss of each example; both arguments come in this loss's dtype."""
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] != 1:
            raise ValueError(
                "SmoothedCrossentropy takes class numbers; for one-hot targets use keras.losses.CategoricalCrossentropy"
                f"(label_smoothing={self.label_smoothing}). Received: y_true.shape={tuple(y_true.shape)}"
            )
        logits = y_pred
        if not self.from_logits:
            epsilon = keras.config.epsilon()  # as in Keras's own: no logarithm of 0
            logits = ops.log(ops.clip(y_pred, epsilon, 1 - epsilon))
        # The backend's own kernel for the first part: it has a gradient without gather, and refuses impossible labels.
        labelled = ops.sparse_categorical_crossentropy(y_true, logits, from_logits=True)
        if not self.label_smoothing:
            return labelled
        spread = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
        return (1 - self.label_smoothing) * labelled + self.label_smoothing * spread

    def get_config(self):
        return super().get_config() | {"label_smoothing": self.label_smoothing, "from_logits": self.from_logits}
