"""The base class of layers that change each picture of a batch by a random draw of its own."""

from dataclasses import dataclass
from typing import Any

import keras

from davidnet_keras.errors import whole_number


@dataclass(frozen=True)  # not a tuple: Keras refuses call arguments that mix tensors and plain numbers
class BatchOrigin:
    """Which pictures a batch consists of, `index` (B,), their positions in the training set, and when, `epoch`, from 0.

    `seed`, two integers, is the same for every batch of a run and fixes what is drawn once for each picture.
    """

    index: Any
    epoch: Any
    seed: Any = (0, 0)


class RandomBatchLayer(keras.layers.Layer):
    """Base of layers that change each picture of a batch by a random draw of its own.

    A subclass defines two pure functions: `draw`, or `draw_from` if the draws depend on which pictures these are or on
    the epoch, and `transform`. (XLA takes far longer to compile a draw than a transform.) The same seed gives the same
    pictures eagerly, inside `tf.data` and inside a compiled model.

    Shapes: (B, H, W, C), or (H, W, C) as a batch of one -> the same, of the same dtype.

    Args:
        seed: integer that starts the layer's own sequence of draws; `None` starts it at random.

    Call arguments:
        images: pictures of any dtype.
        training: `False` returns the pictures unchanged. Default: as the model that the layer is part of, else `True`.
        seed: two integers that fix the draws for this batch; `None` takes the next ones of the layer's own sequence.
        origin: which pictures these are. Most layers do not need it.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        # Without autocast, uint8 pictures stay uint8 and float32 pictures stay float32 under a mixed policy.
        super().__init__(autocast=False, **kwargs)
        self.seed = None if seed is None else whole_number("seed", seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.built = True

    def draw(self, seed: Any, shape: Any) -> tuple:
        """Return the tuple of draws for a batch of `shape` (B, H, W, C), a pure function of `seed`."""
        if type(self).draw_from is RandomBatchLayer.draw_from:
            raise NotImplementedError("A subclass of RandomBatchLayer defines draw or draw_from.")
        return self.draw_from(None, seed, shape)

    def draw_from(self, origin: BatchOrigin | None, seed: Any, shape: Any) -> tuple:
        """Return the draws as `draw` does, for a batch of known origin (None: unknown)."""
        return self.draw(seed, shape)

    def transform(self, images: Any, *draws: Any) -> Any:
        """Return the pictures (B, H, W, C) changed by the given draws, in the same shape and dtype."""
        raise NotImplementedError

    def check_shape(self, shape: Any) -> None:
        """Raise ValueError if pictures of the static shape (B, H, W, C) do not fit; sizes may be None."""

    def call(
        self, images: Any, training: bool | None = None, seed: Any = None, origin: BatchOrigin | None = None
    ) -> Any:
        images = keras.ops.convert_to_tensor(images)
        if training is not None and not training:
            return images
        if len(images.shape) == 3:
            return self.call(images[None], training, seed, origin)[0]
        if len(images.shape) != 4:
            raise ValueError(f"Pictures must be (batch, height, width, channels). Received: shape={images.shape}")
        self.check_shape(images.shape)
        shape = keras.ops.convert_to_tensor(keras.ops.shape(images), "int32")
        seed = self.seed_generator.next() if seed is None else seed
        return self.transform(images, *self.draw_from(origin, seed, shape))

    def compute_output_shape(self, images_shape: tuple) -> tuple:
        return images_shape

    def compute_output_spec(self, images: Any, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        # Keras's own version would announce the layer's compute dtype.
        return keras.KerasTensor(images.shape, dtype=images.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "seed": self.seed}
