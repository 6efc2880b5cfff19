"""A network built from a few settings, which a saved file brings back."""

import keras

# Importing the optimizers and losses registers them, so that Keras can load every model that `train` saves.
from davidnet_keras.training import losses, momentum_sgd, muon  # noqa: F401
from davidnet_keras.training.sum_loss import SumLossModel

IMAGE_SHAPE = (32, 32, 3)


class Network(SumLossModel):
    """A `SumLossModel` that its settings describe in full: its config is them, and not the graph of its layers.

    For subclasses, whose constructors take the settings by name, and l2, dtype, name and trainable besides. Their
    graphs have a layer "normalize".

    Args:
        graph: function of the settings and `dtype`, a policy; returns the KerasTensors (images, logits).
        settings: dict, the constructor's arguments that the graph is made from.
        l2, dtype, **kwargs: as `SumLossModel`'s; Keras's global policy by default.
    """

    def __init__(self, graph, settings, l2=0.0, dtype=None, **kwargs):
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        images, logits = graph(**settings, dtype=policy)
        super().__init__(images, logits, l2=l2, dtype=policy, **kwargs)
        self.settings = settings

    def adapt(self, images):
        """Normalise from now on with these pictures' own mean and standard deviation per channel."""
        self.get_layer("normalize").adapt(images)

    def get_config(self):
        return self.settings | {
            "l2": self.l2,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "name": self.name,
            "trainable": self.trainable,
            "frozen": [layer.name for layer in self.layers if not layer.trainable],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        settings = dict(config)
        frozen = settings.pop("frozen", ())
        model = cls(**settings)
        for name in frozen:
            model.get_layer(name).trainable = False
        return model
