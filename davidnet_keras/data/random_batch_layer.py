"""The base class of layers that change each picture of a batch by a random draw of its own."""

from dataclasses import dataclass
from typing import Any

import keras

from davidnet_keras.errors import whole_number


@dataclass(frozen=True)  # not a tuple: Keras refuses call arguments that mix tensors and plain numbers
class BatchOrigin:
    """Which pictures a batch consists of, and when: what `train_dataset` passes to the layers that it applies.

    Args:
        index: Position of each picture in the training set, from 0: integers (B,).
        epoch: Epoch that the batch belongs to, from 0: one integer.
        seed: Two integers, the same for every batch of a run: they fix what is drawn once for each picture.
    """

    index: Any
    epoch: Any
    seed: Any = (0, 0)


class RandomBatchLayer(keras.layers.Layer):
    """Base of layers that change each picture of a batch by a random draw of its own.

    A subclass defines two pure functions: `draw(seed, shape)`, which returns a tuple of tensors, and
    `transform(images, *draws)`, which keeps shape and dtype. (XLA takes far longer to compile a draw than a transform.)
    A layer whose draws depend on which pictures these are, or on the epoch, defines `draw_from(origin, seed, shape)`
    instead of `draw`, as `AlternatingFlip` does.

    Shapes:
        (B, H, W, C) or (H, W, C) -> the same. Pictures without a batch axis are a batch of one.

    Args:
        seed: Integer that starts the layer's own sequence of draws; `None` starts it at random. Used by calls
            without a seed of their own.

    Call arguments:
        images: Pictures of any dtype; the result has the same.
        training: `False` returns the pictures unchanged. By default the layer follows the model that it is part of,
            and augments outside a model, as Keras's own augmentation layers do.
        seed: Two integers (a tensor of shape (2,), int32 or int64) that fix the draws for this batch. `None` takes
            the next ones of the layer's own sequence.
        origin: `BatchOrigin`: which pictures these are. Most layers do not need it.

    Raises:
        ValueError: If an argument does not fit; when called, if the pictures do not.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        # Without autocast, uint8 pictures stay uint8 and float32 pictures stay float32 under a mixed policy.
        super().__init__(autocast=False, **kwargs)
        self.seed = None if seed is None else whole_number("seed", seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.built = True

    def draw(self, seed: Any, shape: Any) -> tuple:
        """Return the tuple of draws for a batch of `shape` (B, H, W, C), a pure function of `seed`."""
        raise NotImplementedError

    def draw_from(self, origin: BatchOrigin | None, seed: Any, shape: Any) -> tuple:
        """Return the draws as `draw` does, for a batch of known origin (None: unknown)."""
        return self.draw(seed, shape)

    def transform(self, images: Any, *draws: Any) -> Any:
        """Return the pictures changed by the given draws."""
        raise NotImplementedError

    def check_shape(self, shape: Any) -> None:
        """Raise ValueError if pictures of the static shape (B, H, W, C) do not fit; sizes may be None."""

    def call(self, images: Any, training: bool | None = None, seed: Any = None, origin: BatchOrigin | None = None):
        images = keras.ops.convert_to_tensor(images)
        if training is not None and not training:
            return images
        batch = images[None] if len(images.shape) == 3 else images
        if len(batch.shape) != 4:
            raise ValueError(f"Pictures must be (batch, height, width, channels). Received: shape={images.shape}")
        self.check_shape(batch.shape)
        if seed is None:
            seed = self.seed_generator.next()
        shape = keras.ops.convert_to_tensor(keras.ops.shape(batch), "int32")
        out = self.transform(batch, *self.draw_from(origin, seed, shape))
        return out[0] if len(images.shape) == 3 else out

    def compute_output_shape(self, images_shape: tuple) -> tuple:
        return images_shape

    def compute_output_spec(self, images, training=None, seed=None, origin=None):
        # Keras's own version would announce the layer's compute dtype.
        return keras.KerasTensor(images.shape, dtype=images.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "seed": self.seed}
