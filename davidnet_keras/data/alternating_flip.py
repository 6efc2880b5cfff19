"""A layer that shows every picture both ways within any two consecutive epochs."""

from typing import Any

import keras

from davidnet_keras.data.random_batch_layer import BatchOrigin, RandomBatchLayer
from davidnet_keras.kernels.image_ops import flip
from davidnet_keras.kernels.random import coin_of_each


@keras.saving.register_keras_serializable(package="davidnet_keras")
class AlternatingFlip(RandomBatchLayer):
    """Mirrors each picture left to right in every other epoch, starting at random.

    A random half of the pictures is mirrored in the first epoch, and from then on each picture changes sides with every
    epoch: any two consecutive epochs show it both ways, where `RandomFlip` shows half of the pictures the same way
    twice. Whether a picture starts mirrored is a pure function of the run's seed and its position in the training set.

    The layer must know the pictures and the epoch, or raises ValueError. `train_dataset` passes both, whether the layer
    stands alone or in an `Augmentation`; in a call of your own, pass `origin`.

    Args:
        seed: As for every `RandomBatchLayer`; not used, since nothing is drawn anew for a batch.

    Example:

    ```python
    dataset = train_dataset(x, y, 512, Augmentation([RandomCrop(2), AlternatingFlip()]))
    images = AlternatingFlip()(x[:8], origin=BatchOrigin(index=range(8), epoch=3))
    ```

    Source: Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv:2404.00498), section 3.6.
    """

    def draw(self, seed: Any, shape: Any) -> tuple:
        return self.draw_from(None, seed, shape)

    def draw_from(self, origin: BatchOrigin | None, seed: Any, shape: Any) -> tuple:
        """Return a 1-tuple: which pictures to mirror, bool (B,)."""
        if origin is None:
            raise ValueError(
                "AlternatingFlip must know which pictures these are and the epoch: use it in train_dataset, or pass "
                "origin=BatchOrigin(index, epoch); RandomFlip needs neither. Received: origin=None"
            )
        odd_epoch = keras.ops.cast(origin.epoch, "int64") % 2 == 1
        return (keras.ops.logical_xor(coin_of_each(origin.index, origin.seed), odd_epoch),)

    def transform(self, images: Any, mask: Any) -> Any:
        return flip(images, mask)
