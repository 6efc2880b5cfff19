"""The base class of layers that change each picture of a batch by a draw of its own."""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf


@dataclass(frozen=True)  # no tuple: Keras refuses call arguments in which tensors and plain numbers are mixed
class BatchOrigin:
    """Which pictures a batch is made of, and when: what `train_dataset` tells the layers that it applies.

    Args:
        index: Place of each picture in the training set, from 0: integers (B,).
        epoch: Epoch that the batch belongs to, from 0: one integer.
        seed: Two integers, the same in every batch of a run: from them follows what is drawn once for each picture.
    """

    index: Any
    epoch: Any
    seed: Any = (0, 0)


class RandomBatchLayer(keras.layers.Layer):
    """Base of layers that change each picture of a batch by a draw of its own.

    A subclass defines `draw(seed, shape)`, a tuple of tensors for a batch of that shape, and
    `transform(images, *draws)`, which keeps shape and dtype, both as pure functions. The two are apart so that a draw
    can be looked at, and because XLA takes far longer to compile the draw than the transform. One picture without
    a batch axis is taken as a batch of one.

    A layer whose draws depend on which pictures these are, or on the epoch, defines `draw_from(origin, seed, shape)`
    in place of `draw`: `AlternatingFlip` does.

    Shapes:
        (B, H, W, C) or (H, W, C) -> the same.

    Args:
        seed: Integer that starts the layer's own sequence of draws; `None` starts it anywhere. Used by calls
            without a seed of their own.

    Call arguments:
        images: Pictures of any dtype; the result has the same.
        training: `False` returns the pictures as they are. Left out, the layer follows the model that it is part
            of, and augments where there is none, as Keras's own augmentation layers do.
        seed: Two integers (a tensor of shape (2,), int32 or int64) that fix the draws of this very batch. `None`
            takes the next ones of the layer's own sequence.
        origin: `BatchOrigin`: which pictures these are. Most layers do not need to know.
    """

    def __init__(self, seed=None, **kwargs):
        # Without autocast, uint8 pictures stay uint8 and float32 pictures stay float32 under a mixed policy.
        super().__init__(autocast=False, **kwargs)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ValueError(f"`seed` must be an integer or None. Received: seed={seed!r}")
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def draw(self, seed, shape):
        """Returns the tuple of draws for a batch of `shape` (B, H, W, C), a pure function of `seed`."""
        raise NotImplementedError

    def draw_from(self, origin, seed, shape):
        """Returns the draws as `draw` does, for a batch of which the `BatchOrigin` is known (None: it is not)."""
        return self.draw(seed, shape)

    def transform(self, images, *draws):
        """Returns the pictures changed by the given draws."""
        raise NotImplementedError

    def check_shape(self, shape):
        """Raises ValueError where pictures of the static shape (B, H, W, C) do not fit; sizes may be None."""

    def call(self, images, training=None, seed=None, origin=None):
        if training is not None and not training:
            return images
        batch = images[None] if images.shape.rank == 3 else images
        if batch.shape.rank != 4:
            raise ValueError(f"Pictures must be (batch, height, width, channels). Received: shape={images.shape}")
        self.check_shape(batch.shape)
        if seed is None:
            seed = self.seed_generator.next()
        out = self.transform(batch, *self.draw_from(origin, seed, tf.shape(batch)))
        return out[0] if images.shape.rank == 3 else out

    def compute_output_shape(self, images_shape):
        return images_shape

    def compute_output_spec(self, images, training=None, seed=None, origin=None):
        # Keras's own version would announce the layer's compute dtype.
        return keras.KerasTensor(images.shape, dtype=images.dtype)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
