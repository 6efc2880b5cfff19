"""A network that is built from a few settings, and saved as them."""

from collections.abc import Callable
from typing import Any

import keras

from davidnet_keras.errors import refuse_unknown

# Importing the optimizers and losses registers them, so that Keras can load every model that `train` saves.
from davidnet_keras.training import losses, optimizers  # noqa: F401
from davidnet_keras.training.sum_loss import SumLossModel

IMAGE_SHAPE = (32, 32, 3)


class Network(SumLossModel):
    """A `SumLossModel` whose config is a few settings, not the graph of its layers.

    Subclasses take the settings by name. Their graphs have a layer "normalize".

    Args:
        graph: function of the settings and `dtype`, a policy; returns the KerasTensors (images, logits).
        settings: dict, the constructor's arguments that the graph is made from.
        dtype: policy of the layers. Default: Keras's global one.
        l2, name, trainable: as for `SumLossModel`.
    """

    def __init__(
        self,
        graph: Callable,
        settings: dict[str, Any],
        l2: float = 0.0,
        dtype: Any = None,
        name: str | None = None,
        trainable: bool = True,
        **unknown: Any,
    ) -> None:
        refuse_unknown(type(self).__name__, unknown, (*settings, "l2", "dtype", "name", "trainable"))
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        images, logits = graph(**settings, dtype=policy)
        super().__init__(images, logits, l2=l2, dtype=policy, name=name, trainable=trainable)
        self.settings = settings

    def adapt(self, images: Any) -> None:
        """Normalise from now on by these pictures' own mean and standard deviation per channel."""
        self.get_layer("normalize").adapt(images)

    def training_callbacks(self) -> list[keras.callbacks.Callback]:
        """The callbacks that `fit` needs for this network to be trained by a recipe. Default: none."""
        return []

    def get_config(self) -> dict[str, Any]:
        """The settings, and which layers are frozen."""
        return self.settings | {
            "l2": self.l2,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "name": self.name,
            "trainable": self.trainable,
            "frozen": [layer.name for layer in self.layers if not layer.trainable],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Network":
        """The network of this config, with new weights."""
        settings = dict(config)
        frozen = settings.pop("frozen", ())
        model = cls(**settings)
        for name in frozen:
            model.get_layer(name).trainable = False
        return model


def logits_layer(scale: float, dtype: keras.DTypePolicy) -> keras.layers.Layer:
    """The last layer: the logits times `scale`, in float32 (or float64), as the softmax that follows needs them."""
    wide = "float64" if dtype.compute_dtype == "float64" else "float32"
    return keras.layers.Rescaling(scale, dtype=wide, name="logits")
