"""Arrays of pictures -> `tf.data`: shuffled, augmented batches for training, plain ones for testing.

A training batch is a pure function of (seed, epoch, step). How often the data set was iterated, by how many iterators,
from which step on and on how many threads makes no difference.
"""

import operator

import numpy as np
import tensorflow as tf

from davidnet_keras.data.random_batch_layer import BatchOrigin, RandomBatchLayer
from davidnet_keras.kernels.image_ops import fold_seed

# Folded into the seed first, so that the order of the pictures, the changes of each batch and what is drawn once for
# each picture are drawn apart.
_ORDER, _CHANGES, _PICTURES = 0, 1, 2


def train_dataset(
    x,
    y,
    batch_size=512,
    augmentation=None,
    seed=0,
    initial_epoch=0,
    initial_step=0,
    sample_weight=None,
    num_parallel_calls=2,
):
    """Makes the endless data set of training batches: epoch after epoch, each in an order of its own.

    Each epoch holds every picture once, in batches of `batch_size`; the last one is smaller where that does not divide
    the set. The data set never ends, so `fit` must be told the length of an epoch, or its first one never ends either.
    It then draws all epochs from one iterator, in step with this data set as long as it runs whole epochs:
    `steps_per_execution`, if used, must divide `steps_per_epoch`. (`shuffle=False` spares a warning of Keras 3.15.)

    The arrays are held as they are, without a copy, where they begin at a multiple of 64 bytes, as TensorFlow demands,
    and copied once otherwise (those of `load_cifar10` and the like begin there). Do not change them while the data set
    is in use.

    Shapes:
        x (N, H, W, C), y (N,), sample_weight (N,) -> batches (B, H, W, C) of x's dtype, (B,) int64 and, with weights,
        (B,) float32.

    Args:
        x: Pictures, uint8 or floats.
        y: Labels, integers.
        batch_size: Pictures in a batch; more than there are means one batch an epoch.
        augmentation: Layer applied to whole batches, such as `Augmentation([RandomCrop(), RandomFlip()])` or any other
            `RandomBatchLayer`. Compiled with XLA unless its `supports_jit` is false.
        seed: Integer from which order and augmentation of every epoch follow.
        initial_epoch: Epoch, from 0, that the first batch belongs to.
        initial_step: Step of that epoch, from 0, that the first batch is.
        sample_weight: Weight of each picture, or None for batches without weights.
        num_parallel_calls: Batches made at the same time.

    Returns:
        An infinite `tf.data.Dataset`.

    Raises:
        ValueError: If an argument does not fit.

    Example:

    ```python
    model.fit(train_dataset(x, y, 512), steps_per_epoch=steps_per_epoch(len(x), 512), shuffle=False, epochs=24)
    ```

    Source: the reference notebook's `tf.data` pipeline, which shuffles pictures instead of indices.
    """
    arrays = _check_arrays(x, y, sample_weight)
    batch_size = _check_integer("batch_size", batch_size, 1)
    steps = steps_per_epoch(len(arrays[0]), batch_size)
    seed = _check_integer("seed", seed, -(2**63))
    first = _check_integer("initial_epoch", initial_epoch, 0), _check_integer("initial_step", initial_step, 0)
    if first[1] >= steps:
        raise ValueError(f"An epoch has steps 0 to {steps - 1}. Received: initial_step={initial_step}")
    if augmentation is not None and not isinstance(augmentation, RandomBatchLayer):
        raise ValueError(
            "`augmentation` must be one layer, such as Augmentation([RandomCrop(), RandomFlip()]). "
            f"Received: augmentation={augmentation!r}"
        )
    num_parallel_calls = _check_integer("num_parallel_calls", num_parallel_calls, 1)

    steps_in_order = _steps(len(arrays[0]), batch_size, seed, *first)
    dataset = steps_in_order.map(
        _batch_maker(_hold(arrays), augmentation, seed, steps),
        num_parallel_calls=num_parallel_calls,
        deterministic=True,
    )
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return dataset.prefetch(2 * num_parallel_calls).with_options(_options())


def test_dataset(x, y, batch_size=1000, sample_weight=None):
    """Makes the data set of test batches: once through the arrays, in order, unchanged.

    Shapes and the other arguments are those of `train_dataset`; here too, do not change the arrays while it is in use.

    Args:
        x: Pictures, uint8 or floats.
        y: Labels, integers.
        batch_size: Pictures in a batch; the last one may be smaller.
        sample_weight: Weight of each picture, or None for batches without weights.

    Returns:
        A finite `tf.data.Dataset`.

    Raises:
        ValueError: If an argument does not fit.
    """
    arrays = _check_arrays(x, y, sample_weight)
    batch_size = _check_integer("batch_size", batch_size, 1)
    held = _hold(arrays)

    @tf.autograph.experimental.do_not_convert
    def batch(step):
        return tuple(array[step * batch_size : (step + 1) * batch_size] for array in held)

    dataset = tf.data.Dataset.range(steps_per_epoch(len(arrays[0]), batch_size)).map(batch)
    return dataset.prefetch(2).with_options(_options())


test_dataset.__test__ = False  # It is no test, whatever pytest makes of the name where it is imported.


def steps_per_epoch(num_images, batch_size):
    """Returns the number of batches in an epoch: `num_images` / `batch_size`, rounded up."""
    num_images, batch_size = _check_integer("num_images", num_images, 1), _check_integer("batch_size", batch_size, 1)
    return -(-num_images // batch_size)


def _steps(num_images, batch_size, seed, initial_epoch, initial_step):
    """Data set of (epoch, step, indices of the batch's pictures)."""
    steps = steps_per_epoch(num_images, batch_size)
    order_seed = _seed(seed, _ORDER)

    # Autograph has nothing to convert here.
    @tf.autograph.experimental.do_not_convert
    def epoch_of_steps(epoch):
        keys = tf.random.stateless_uniform(
            (num_images,), fold_seed(order_seed, epoch), minval=None, maxval=None, dtype=tf.int64, alg="philox"
        )
        order = tf.argsort(keys, stable=True)
        # Cut by hand, so that an epoch can start at any of its steps.
        first = tf.where(epoch == initial_epoch, tf.constant(initial_step, tf.int64), 0)

        @tf.autograph.experimental.do_not_convert
        def indices(step):
            return epoch, step, order[step * batch_size : (step + 1) * batch_size]

        return tf.data.Dataset.range(first, steps).map(indices)

    return tf.data.Dataset.range(initial_epoch, np.iinfo(np.int64).max).flat_map(epoch_of_steps)


def _batch_maker(arrays, augmentation, seed, steps):
    """Returns the function (epoch, step, indices) -> batch."""
    changes, of_pictures = _seed(seed, _CHANGES), _seed(seed, _PICTURES)
    if augmentation is not None:
        augmentation.check_shape(arrays[0].shape)
        # XLA makes one loop of the look-ups, several times as fast as the same operations one by one.
        transform = tf.function(augmentation.transform, jit_compile=augmentation.supports_jit, autograph=False)

    @tf.autograph.experimental.do_not_convert
    def batch(epoch, step, indices):
        images, *rest = (tf.gather(array, indices) for array in arrays)
        if augmentation is not None:
            origin = BatchOrigin(indices, epoch, of_pictures)
            draws = augmentation.draw_from(origin, fold_seed(changes, epoch * steps + step), tf.shape(images))
            images = transform(images, *draws)
        return (images, *rest)

    return batch


def _seed(seed, purpose):
    return fold_seed(tf.constant([seed, 0], tf.int64), purpose)


def _hold(arrays):
    """Returns tensors on the host; a captured tensor enters the graph as an input, not as a copy."""
    with tf.device("CPU:0"):
        # `tf.constant` always copies. This shares the memory of aligned arrays.
        return [tf.raw_ops.Identity(input=np.ascontiguousarray(array)) for array in arrays]


def _options():
    options = tf.data.Options()
    options.deterministic = True
    # Several workers then share each batch. The default tries to share files first, and warns that there are none.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options


def _check_arrays(x, y, sample_weight):
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 4 or x.size == 0:
        raise ValueError(
            f"`x` must hold pictures (number, height, width, channels), one at least. Received: x.shape={x.shape}"
        )
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise ValueError(f"`x` must be uint8 or floats. Received: x.dtype={x.dtype}")
    if y.shape != x.shape[:1]:
        raise ValueError(
            f"`y` must hold one label for each of the {len(x)} pictures, in one axis: of shape ({len(x)}, 1), pass "
            f"y[:, 0]. Received: y.shape={y.shape}"
        )
    if y.dtype.kind not in "ui":
        raise ValueError(f"`y` must hold integers, the numbers of the classes. Received: y.dtype={y.dtype}")
    arrays = [x, y.astype(np.int64, copy=False)]
    if sample_weight is not None:
        weights = np.asarray(sample_weight)
        if weights.shape != y.shape or weights.dtype.kind not in "uif":
            raise ValueError(
                f"`sample_weight` must hold one number for each of the {len(x)} pictures. "
                f"Received: sample_weight.shape={weights.shape}, dtype={weights.dtype}"
            )
        arrays.append(weights.astype(np.float32, copy=False))
    return arrays


def _check_integer(name, value, least):
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool) or not least <= whole < 2**63:
        raise ValueError(
            f"`{name}` must be a whole number" + (f" of {least} or more" if least >= 0 else "") + ". "
            f"Received: {name}={value!r}"
        )
    return whole
