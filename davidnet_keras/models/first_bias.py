"""FastNet's first bias, the whitening layer's: trained for some epochs, then spared its gradient."""

from typing import Any

import keras

from davidnet_keras.training.optimizers import group_of

PATTERN = "whiten/bias$"  # of its path, for a `ParameterGroup` whose rate fades
LAYER, NEXT_BLOCK = "whiten", "block1"


class StopFirstBias(keras.callbacks.Callback):
    """Spares a `FastNet` the gradient of its first bias once the bias's rate has faded to 0, until training ends."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)  # under loss scaling
        group = group_of(f"{LAYER}/bias", getattr(optimizer, "groups", ()))
        faded = group is not None and group.fade_steps and int(optimizer.iterations) >= group.fade_steps
        self.model.train_first_bias(not faded)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.release()

    def release(self) -> None:
        """Compute the gradient again: the context that trains calls this however training ends."""
        self.model.train_first_bias(True)
