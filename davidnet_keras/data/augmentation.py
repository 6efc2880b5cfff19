"""Keras layers that augment a batch of pictures: random crop, random flip, cutout, and a stack of them.

Each picture gets its own draw, a pure function of a seed: the same seed gives the same pictures eagerly, inside
`tf.data` and inside a compiled model. Pictures keep their dtype, uint8 included.
"""

import dataclasses
import numbers
from typing import Any

import keras

from davidnet_keras.data.random_batch_layer import BatchOrigin, RandomBatchLayer
from davidnet_keras.errors import whole_number
from davidnet_keras.kernels.image_ops import crop, cutout, flip
from davidnet_keras.kernels.random import draw_mask, draw_offsets, fold_seed
from davidnet_keras.layers.normalization import Normalization, channel_values

__all__ = ["Augmentation", "Cutout", "Normalization", "RandomBatchLayer", "RandomCrop", "RandomFlip"]


@keras.saving.register_keras_serializable(package="davidnet_keras")
class RandomCrop(RandomBatchLayer):
    """Pads each picture by reflection and cuts a random window of the original size out of it.

    Args:
        padding: Pixels added on each side, fewer than height and width. Each of the (2 * padding + 1)**2 windows is
            equally likely.
        seed: See `RandomBatchLayer`, also for shapes and call arguments.

    Source: davidcpage/cifar10-fast, `pad` and `Crop`.
    """

    def __init__(self, padding: int = 4, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.padding = whole_number("padding", padding, least=0)

    def check_shape(self, shape: Any) -> None:
        if any(side is not None and self.padding >= side for side in shape[1:3]):
            raise ValueError(
                f"Padding by reflection must be less than height and width, here {shape[1]} and {shape[2]}. "
                f"Received: padding={self.padding}"
            )

    def draw(self, seed: Any, shape: Any) -> tuple:
        """Return dy and dx, each int32 (B,) from 0 to 2 * padding: where the window starts in the padded picture."""
        return tuple(keras.ops.unstack(draw_offsets(seed, (2, shape[0]), 2 * self.padding + 1)))

    def transform(self, images: Any, dy: Any, dx: Any) -> Any:
        return crop(images, dy, dx, self.padding)

    def get_config(self) -> dict:
        return {**super().get_config(), "padding": self.padding}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class RandomFlip(RandomBatchLayer):
    """Mirrors each picture left to right with probability `rate`.

    Args:
        rate: Probability, 0 to 1.
        seed: See `RandomBatchLayer`, also for shapes and call arguments.

    Source: davidcpage/cifar10-fast, `FlipLR`.
    """

    def __init__(self, rate: float = 0.5, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        if isinstance(rate, bool) or not isinstance(rate, numbers.Real) or not 0 <= rate <= 1:
            raise ValueError(f"`rate` is a probability from 0 to 1. Received: rate={rate!r}")
        self.rate: float = float(rate)

    def draw(self, seed: Any, shape: Any) -> tuple:
        """Return a 1-tuple: which pictures to mirror, bool (B,)."""
        return (draw_mask(seed, (shape[0],), self.rate),)

    def transform(self, images: Any, mask: Any) -> Any:
        return flip(images, mask)

    def get_config(self) -> dict:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Cutout(RandomBatchLayer):
    """Paints over a square of each picture, at a random position wholly inside the picture.

    Args:
        size: Side of the square in pixels.
        fill: Value painted, one for all channels or one for each, in the pictures' own units; rounded for integer
            pictures. The training set's mean (`normalization.mean`) becomes 0 when normalised: the source paints 0 on
            normalised pictures.
        seed: See `RandomBatchLayer`, also for shapes and call arguments.

    Source: davidcpage/cifar10-fast, `Cutout`. In the paper (DeVries and Taylor, arXiv:1708.04552) the square's
    centre is drawn instead, and the square may reach over the edge.
    """

    def __init__(self, size: int = 8, fill: Any = 0.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.size = whole_number("size", size, least=1)
        self.fill = channel_values("fill", fill)

    def check_shape(self, shape: Any) -> None:
        if any(side is not None and self.size > side for side in shape[1:3]):
            raise ValueError(
                f"The square must fit inside the pictures, here {shape[1]} x {shape[2]}. Received: size={self.size}"
            )
        if isinstance(self.fill, list) and shape[3] not in (None, len(self.fill)):
            raise ValueError(
                f"Give one value of `fill` for each of the {shape[3]} channels, or one for all. "
                f"Received: fill={self.fill}"
            )

    def draw(self, seed: Any, shape: Any) -> tuple:
        """Return top and left, each int32 (B,): the square's first row and column."""
        positions = keras.ops.convert_to_tensor(shape, "int32")[1:3] - self.size + 1  # (2,)
        return tuple(keras.ops.unstack(draw_offsets(seed, (2, shape[0]), positions[:, None])))

    def transform(self, images: Any, top: Any, left: Any) -> Any:
        return cutout(images, top, left, self.size, self.fill)

    def get_config(self) -> dict:
        # Keras wraps lists that become attributes.
        fill = list(self.fill) if isinstance(self.fill, list) else self.fill
        return {**super().get_config(), "size": self.size, "fill": fill}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Augmentation(RandomBatchLayer):
    """Applies layers one after another, each with a seed folded from the batch's.

    Args:
        layers: The layers in order: any subclasses of `RandomBatchLayer`, stacks included. An empty list changes
            nothing.
        seed: See `RandomBatchLayer`, also for shapes and call arguments. The layers' own sequences are not used.

    Example:

    ```python
    augmentation = Augmentation([RandomCrop(padding=4), RandomFlip(), Cutout(size=8, fill=[125.3, 123.0, 113.9])])
    batch = augmentation(images, seed=[epoch, step])
    ```
    """

    def __init__(self, layers: Any = (), seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        layers = list(layers) if isinstance(layers, list | tuple) else [layers]
        for layer in layers:
            if not isinstance(layer, RandomBatchLayer):
                raise ValueError(
                    "An augmentation is made of layers such as RandomCrop: derive yours from RandomBatchLayer. "
                    f"Received: layers={layers!r}"
                )
        self.layers = layers
        self.supports_jit = all(layer.supports_jit for layer in layers)

    def check_shape(self, shape: Any) -> None:
        for layer in self.layers:
            layer.check_shape(shape)

    def draw(self, seed: Any, shape: Any) -> tuple:
        return self.draw_from(None, seed, shape)

    def draw_from(self, origin: BatchOrigin | None, seed: Any, shape: Any) -> tuple:
        """Return the draws of each layer in turn, a tuple of tuples."""
        draws = []
        for position, layer in enumerate(self.layers):
            own = origin and dataclasses.replace(origin, seed=fold_seed(origin.seed, position))
            draws.append(layer.draw_from(own, fold_seed(seed, position), shape))
        return tuple(draws)

    def transform(self, images: Any, *draws: Any) -> Any:
        for layer, drawn in zip(self.layers, draws, strict=True):
            images = layer.transform(images, *drawn)
        return images

    def get_config(self) -> dict:
        return {**super().get_config(), "layers": [keras.saving.serialize_keras_object(each) for each in self.layers]}

    @classmethod
    def from_config(cls, config: dict) -> "Augmentation":
        layers = [keras.saving.deserialize_keras_object(each) for each in config["layers"]]
        return cls(**{**config, "layers": layers})
