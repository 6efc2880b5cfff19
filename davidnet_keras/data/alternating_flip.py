"""Alternating flip: a layer that shows every picture both ways within any two epochs."""

import keras
import tensorflow as tf

from davidnet_keras.data.random_batch_layer import RandomBatchLayer
from davidnet_keras.kernels.image_ops import flip
from davidnet_keras.layers.dropout import random_bits


@keras.saving.register_keras_serializable(package="davidnet_keras")
class AlternatingFlip(RandomBatchLayer):
    """Mirrors each picture left to right in every other epoch, from a start of its own.

    A random half of the pictures begins mirrored, and from then on each changes sides with every epoch: in any two
    epochs on end it is seen both ways, where `RandomFlip` shows half of the pictures the same way twice. Which way a
    picture begins is a pure function of the run's seed and the picture's place in the training set.

    The layer has to know the pictures and the epoch, which `train_dataset` tells it, alone or in an `Augmentation`. For
    a call of your own, pass `origin`; without one the layer refuses, for a flip that does not alternate is
    `RandomFlip`.

    Args:
        seed: As for every `RandomBatchLayer`; not used, since nothing is drawn anew from batch to batch.

    Raises:
        ValueError: When called without `origin`, unless `training` is false.

    Example:

    ```python
    dataset = train_dataset(x, y, 512, Augmentation([RandomCrop(2), AlternatingFlip()]))
    images = AlternatingFlip()(x[:8], origin=BatchOrigin(index=range(8), epoch=3))
    ```

    Source: Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv:2404.00498), section 3.6.
    """

    def draw(self, seed, shape):
        return self.draw_from(None, seed, shape)

    def draw_from(self, origin, seed, shape):
        """Returns a 1-tuple: which pictures to mirror, bool (B,)."""
        if origin is None:
            raise ValueError(
                "AlternatingFlip must know which pictures these are and the epoch: use it in train_dataset, or pass "
                "origin=BatchOrigin(index, epoch); RandomFlip needs neither. Received: origin=None"
            )
        epoch = tf.bitwise.bitwise_and(tf.cast(origin.epoch, tf.uint32), tf.constant(1, tf.uint32))
        return (tf.bitwise.bitwise_xor(starts_mirrored(origin), epoch) == 1,)

    def transform(self, images, mask):
        """Returns the pictures, those of `mask` mirrored."""
        return flip(images, mask)


def starts_mirrored(origin):
    """1 for each picture that is mirrored in epoch 0, else 0: uint32 (B,), the same wherever the picture stands."""
    key = tf.random.stateless_uniform(
        [2], tf.cast(origin.seed, tf.int64), minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    # A hash of the place instead of a draw for the whole set, of which a batch would need but a few.
    bits = random_bits(tf.cast(tf.reshape(origin.index, [-1]), tf.uint32), key)
    return tf.bitwise.right_shift(bits, tf.constant(31, tf.uint32))
