"""A network that is built from a few settings, and saved as them."""

from collections.abc import Callable
from typing import Any

import keras

from davidnet_keras.errors import refuse_unknown
from davidnet_keras.layers.normalization import Normalization

# Importing the optimizers and losses registers them, so that Keras can load every model that `train` saves.
from davidnet_keras.training import losses, optimizers  # noqa: F401
from davidnet_keras.training.sum_loss import SumLossModel


class Network(SumLossModel):
    """A `SumLossModel` for raw pictures (batch, 32, 32, 3), whose config is a few settings, not a graph of layers.

    Args:
        body: function of the normalised pictures, the settings but `logit_scale`, and `dtype`, a policy; returns the
            logits before their scale.
        settings: dict, the subclass's arguments that the graph is made from.
        dtype: policy of the layers. Default: Keras's global one.
        l2, name, trainable: as for `SumLossModel`.
    """

    def __init__(
        self, body: Callable, settings: dict[str, Any], l2: float = 0.0, dtype: Any = None, **kwargs: Any
    ) -> None:
        refuse_unknown(type(self).__name__, kwargs, (*settings, "l2", "dtype", "name", "trainable"))
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        images = keras.Input((32, 32, 3), name="images")
        x = Normalization(dtype=policy, name="normalize")(images)
        x = body(x, **{name: value for name, value in settings.items() if name != "logit_scale"}, dtype=policy)
        wide = "float64" if policy.compute_dtype == "float64" else "float32"  # as the softmax that follows needs them
        logits = keras.layers.Rescaling(settings["logit_scale"], dtype=wide, name="logits")(x)
        super().__init__(images, logits, l2=l2, dtype=policy, **kwargs)
        self.settings = settings

    def adapt(self, images: Any) -> None:
        """Normalise from now on by these pictures' own mean and standard deviation per channel."""
        self.get_layer("normalize").adapt(images)

    def training_callbacks(self) -> list[keras.callbacks.Callback]:
        """The callbacks that `fit` needs for this network to be trained by a recipe. Default: none."""
        return []

    def get_config(self) -> dict[str, Any]:
        return self.settings | {
            "l2": self.l2,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "name": self.name,
            "trainable": self.trainable,
            "frozen": [layer.name for layer in self.layers if not layer.trainable],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Network":
        model = cls(**{name: value for name, value in config.items() if name != "frozen"})
        for name in config.get("frozen", ()):
            model.get_layer(name).trainable = False
        return model
