"""Layers that augment a batch of pictures: random crop, flips, cutout, and a stack of them."""

import dataclasses
import numbers
from typing import Any

import keras

from davidnet_keras.data.random_batch_layer import BatchOrigin, RandomBatchLayer
from davidnet_keras.errors import whole_number
from davidnet_keras.kernels.image_ops import crop, cutout, flip
from davidnet_keras.kernels.random import coin_of_each, draw_mask, draw_offsets, fold_seed
from davidnet_keras.layers.normalization import channel_values


@keras.saving.register_keras_serializable(package="davidnet_keras")
class RandomCrop(RandomBatchLayer):
    """Pads each picture by reflection and cuts a random window of the original size out of it.

    Args:
        padding: pixels added on each side, fewer than height and width. All windows are equally likely.

    Source: davidcpage/cifar10-fast, `pad` and `Crop`.
    """

    def __init__(self, padding: int = 4, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.padding = whole_number("padding", padding, least=0)

    def check_shape(self, shape: Any) -> None:
        if any(side is not None and self.padding >= side for side in shape[1:3]):
            sides = f"less than height and width, here {shape[1]} and {shape[2]}"
            raise ValueError(f"`padding` by reflection must be {sides}. Received: padding={self.padding}")

    def draw(self, seed: Any, shape: Any) -> tuple:
        """Return dy and dx, each int32 (B,) from 0 to 2 * padding: where the window starts in the padded picture."""
        return tuple(keras.ops.unstack(draw_offsets(seed, (2, shape[0]), 2 * self.padding + 1)))

    def transform(self, images: Any, dy: Any, dx: Any) -> Any:
        return crop(images, dy, dx, self.padding)

    def get_config(self) -> dict:
        return {**super().get_config(), "padding": self.padding}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class RandomFlip(RandomBatchLayer):
    """Mirrors each picture left to right with probability `rate`, as davidcpage/cifar10-fast's `FlipLR` does."""

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
class AlternatingFlip(RandomBatchLayer):
    """Mirrors each picture left to right in every other epoch, starting at random.

    Any two consecutive epochs show each picture both ways, where `RandomFlip` shows half of them the same way twice.
    Which pictures start mirrored follows from the run's seed and their positions in the training set: `train_dataset`
    passes both; a call of your own must pass `origin`. The layer's own `seed` is not used.

    Example:
        dataset = train_dataset(x, y, 512, Augmentation([RandomCrop(2), AlternatingFlip()]))
        images = AlternatingFlip()(x[:8], origin=BatchOrigin(index=range(8), epoch=3))

    Source: Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv:2404.00498), section 3.6.
    """

    def draw_from(self, origin: BatchOrigin | None, seed: Any, shape: Any) -> tuple:
        """Return a 1-tuple: which pictures to mirror, bool (B,)."""
        if origin is None:
            raise ValueError(
                "AlternatingFlip must know the pictures and the epoch: use it in train_dataset, or pass "
                "origin=BatchOrigin(index, epoch); RandomFlip needs neither. Received: origin=None"
            )
        odd_epoch = keras.ops.cast(origin.epoch, "int64") % 2 == 1
        return (keras.ops.logical_xor(coin_of_each(origin.index, origin.seed), odd_epoch),)

    def transform(self, images: Any, mask: Any) -> Any:
        return flip(images, mask)


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Cutout(RandomBatchLayer):
    """Paints over a square of each picture, at a random position wholly inside the picture.

    Args:
        size: side of the square in pixels.
        fill: value painted, one for all channels or one for each, in the pictures' own units; rounded for integer
            pictures. The source paints the training set's mean (`normalization.mean`).

    Source: davidcpage/cifar10-fast, `Cutout`. In the paper (DeVries and Taylor, arXiv:1708.04552) the square's
    centre is drawn instead, and the square may reach over the edge.
    """

    def __init__(self, size: int = 8, fill: Any = 0.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.size = whole_number("size", size, least=1)
        self.fill = channel_values("fill", fill)

    def check_shape(self, shape: Any) -> None:
        if any(side is not None and self.size > side for side in shape[1:3]):
            sides = f"{shape[1]} x {shape[2]}"
            raise ValueError(f"The square must fit inside the pictures, here {sides}. Received: size={self.size}")
        if isinstance(self.fill, list) and shape[3] not in (None, len(self.fill)):
            raise ValueError(
                f"Give one `fill` for each of the {shape[3]} channels, or for all. Received: fill={self.fill}"
            )

    def draw(self, seed: Any, shape: Any) -> tuple:
        """Return top and left, each int32 (B,): the square's first row and column."""
        positions = keras.ops.convert_to_tensor(shape, "int32")[1:3] - self.size + 1  # (2,)
        return tuple(keras.ops.unstack(draw_offsets(seed, (2, shape[0]), positions[:, None])))

    def transform(self, images: Any, top: Any, left: Any) -> Any:
        return cutout(images, top, left, self.size, self.fill)

    def get_config(self) -> dict:
        fill = list(self.fill) if isinstance(self.fill, list) else self.fill  # Keras wraps lists that become attributes
        return {**super().get_config(), "size": self.size, "fill": fill}


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Augmentation(RandomBatchLayer):
    """Applies layers one after another, each with a seed folded from the batch's.

    Args:
        layers: `RandomBatchLayer`s, stacks included, or none. Their own sequences of draws are not used.

    Example:
        augmentation = Augmentation([RandomCrop(padding=4), RandomFlip(), Cutout(size=8, fill=[125.3, 123.0, 113.9])])
        batch = augmentation(images, seed=[epoch, step])
    """

    def __init__(self, layers: Any = (), seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        layers = list(layers) if isinstance(layers, list | tuple) else [layers]
        if not all(isinstance(layer, RandomBatchLayer) for layer in layers):
            raise ValueError(
                "An augmentation is made of layers such as RandomCrop: derive yours from RandomBatchLayer. "
                f"Received: layers={layers!r}"
            )
        self.layers = layers
        self.supports_jit = all(layer.supports_jit for layer in layers)

    def check_shape(self, shape: Any) -> None:
        for layer in self.layers:
            layer.check_shape(shape)

    def draw_from(self, origin: BatchOrigin | None, seed: Any, shape: Any) -> tuple:
        """Return the draws of each layer in turn, a tuple of tuples."""
        draws = []
        for i, layer in enumerate(self.layers):
            own = origin and dataclasses.replace(origin, seed=fold_seed(origin.seed, i))
            draws.append(layer.draw_from(own, fold_seed(seed, i), shape))
        return tuple(draws)

    def transform(self, images: Any, *draws: Any) -> Any:
        for layer, drawn in zip(self.layers, draws, strict=True):
            images = layer.transform(images, *drawn)
        return images

    def get_config(self) -> dict:
        return {**super().get_config(), "layers": keras.saving.serialize_keras_object(self.layers)}

    @classmethod
    def from_config(cls, config: dict) -> "Augmentation":
        return cls(**{**config, "layers": keras.saving.deserialize_keras_object(config["layers"])})
