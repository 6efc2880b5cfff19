"""Arrays of pictures -> `tf.data`: shuffled, augmented batches for training, plain ones for testing."""

from typing import Any

import numpy as np

from davidnet_keras.data.random_batch_layer import BatchOrigin, RandomBatchLayer
from davidnet_keras.errors import whole_number
from davidnet_keras.kernels.backend import tf
from davidnet_keras.kernels.random import draw_bits, fold_seed

_INT64 = np.iinfo(np.int64)


def train_dataset(
    x: Any,
    y: Any,
    batch_size: int = 512,
    augmentation: RandomBatchLayer | None = None,
    seed: int = 0,
    initial_epoch: int = 0,
    initial_step: int = 0,
    sample_weight: Any = None,
    num_parallel_calls: int = 2,
) -> tf.data.Dataset:
    """Make the endless data set of training batches: every picture once an epoch, in an order of the epoch's own.

    A batch is a pure function of (seed, epoch, step), whatever was iterated before and on however many threads. `fit`
    draws all epochs from one iterator: tell it the length of an epoch, which `steps_per_execution`, if used, must
    divide. (`shuffle=False` avoids a warning of Keras 3.15.) Do not change the arrays while the data set is in use:
    if they begin at a multiple of 64 bytes, as `load_cifar10`'s do, they are not copied but shared with TensorFlow.

    Shapes: x (N, H, W, C), y (N,), sample_weight (N,) -> batches (B, H, W, C) of x's dtype, (B,) int64 and, with
        weights, (B,) float32. The last batch of an epoch may be smaller.

    Args:
        x, y: pictures, uint8 or floats, and their labels, integers.
        batch_size: pictures in a batch; if larger than N, each epoch is one batch.
        augmentation: layer applied to whole batches, compiled with XLA unless its `supports_jit` is false.
        seed: integer that fixes order and augmentation of every epoch.
        initial_epoch, initial_step: where to begin: an epoch and a step in it, both from 0.
        sample_weight: weight of each picture, or None for batches without weights.
        num_parallel_calls: batches made at the same time.

    Example:
        model.fit(train_dataset(x, y, 512), steps_per_epoch=steps_per_epoch(len(x), 512), shuffle=False, epochs=24)

    Source: the reference notebook's `tf.data` pipeline, which shuffles pictures instead of indices.
    """
    held = _hold_arrays(x, y, sample_weight)
    count = len(held[0])
    batch_size = min(whole_number("batch_size", batch_size, 1), count)
    steps = steps_per_epoch(count, batch_size)
    seed = whole_number("seed", seed, _INT64.min, _INT64.max)
    initial_epoch = whole_number("initial_epoch", initial_epoch, 0)
    if whole_number("initial_step", initial_step, 0) >= steps:
        raise ValueError(f"An epoch has steps 0 to {steps - 1}. Received: initial_step={initial_step}")
    if not isinstance(augmentation, RandomBatchLayer | None):
        raise ValueError(
            "`augmentation` must be one layer derived from RandomBatchLayer, such as Augmentation; Keras's own layers "
            f"go into the model, or into `dataset.map`. Received: augmentation={augmentation!r}"
        )
    num_parallel_calls = whole_number("num_parallel_calls", num_parallel_calls, 1)
    # The order of the pictures, the draws of each batch and what is drawn once for each picture are independent.
    order_seed, batch_seed, picture_seed = (fold_seed([seed, 0], purpose) for purpose in range(3))
    if augmentation is not None:
        augmentation.check_shape(held[0].shape)
        # XLA makes one loop of the lookups, several times as fast as the same operations one by one.
        transform = tf.function(augmentation.transform, jit_compile=augmentation.supports_jit, autograph=False)

    @tf.autograph.experimental.do_not_convert  # autograph has nothing to convert here
    def indices_of_epoch(epoch):
        order = tf.argsort(draw_bits(fold_seed(order_seed, epoch), (count,), "int64"), stable=True)
        return tf.data.Dataset.range(0, count, batch_size).map(lambda start: order[start : start + batch_size])

    @tf.autograph.experimental.do_not_convert
    def batch(number, indices):
        """Make the batch of the given number, counted from the start of the run."""
        images, *rest = (tf.gather(array, indices) for array in held)
        if augmentation is not None:
            origin = BatchOrigin(indices, number // steps, picture_seed)
            images = transform(images, *augmentation.draw_from(origin, fold_seed(batch_seed, number), tf.shape(images)))
        return (images, *rest)

    dataset = tf.data.Dataset.range(initial_epoch, _INT64.max).flat_map(indices_of_epoch)
    dataset = dataset.enumerate(initial_epoch * steps).skip(initial_step)
    dataset = dataset.map(batch, num_parallel_calls=num_parallel_calls, deterministic=True)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return _prefetched(dataset, 2 * num_parallel_calls)


def test_dataset(x: Any, y: Any, batch_size: int = 1000, sample_weight: Any = None) -> tf.data.Dataset:
    """Make the data set of test batches: once through the arrays, in order, unchanged.

    Shapes, arguments and errors are those of `train_dataset`; do not change the arrays while it is in use.
    """
    held = _hold_arrays(x, y, sample_weight)
    batch_size = min(whole_number("batch_size", batch_size, 1), len(held[0]))

    @tf.autograph.experimental.do_not_convert
    def batch(start):
        return tuple(array[start : start + batch_size] for array in held)

    return _prefetched(tf.data.Dataset.range(0, len(held[0]), batch_size).map(batch), 2)


test_dataset.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of batches in an epoch: `num_images` / `batch_size`, rounded up."""
    return -(-whole_number("num_images", num_images, 1) // whole_number("batch_size", batch_size, 1))


def _prefetched(dataset, count):
    options = tf.data.Options()
    # Several workers then share each batch. The default tries to share files first, and warns that there are none.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.prefetch(count).with_options(options)


def _hold_arrays(x, y, sample_weight):
    """Check the arrays and return them as tensors on the host, which enter a graph as inputs, not as copies."""
    x, y = _array("x", x), _array("y", y)
    if x.ndim != 4 or x.size == 0:
        hint = "; of grey pictures, pass x[..., None]" if x.ndim == 3 else ""
        raise ValueError(
            f"`x` must hold pictures (number, height, width, channels), one at least{hint}. Received: x.shape={x.shape}"
        )
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        hint = "; for integers from 0 to 255, pass x.astype('uint8')" if x.dtype.kind in "iu" else ""
        raise ValueError(f"`x` must be uint8 or floats{hint}. Received: x.dtype={x.dtype}")
    if y.shape != x.shape[:1]:
        hint = ""
        if y.ndim == 2 and y.shape[1] == 1:
            hint = "; pass y[:, 0]"
        elif y.ndim == 2 and y.dtype.kind in "buif":
            one_hot = np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()
            several = "labels of several classes, or their probabilities, are not supported"
            hint = f"; {'these are one-hot: pass y.argmax(1)' if one_hot else several}"
        raise ValueError(
            f"`y` must hold one label for each of the {len(x)} pictures, in one axis{hint}. Received: y.shape={y.shape}"
        )
    if y.dtype.kind not in "ui":
        hint = ""
        if y.dtype.kind in "USO" and all(isinstance(label, str | bytes) for label in y):
            hint = "; for names, pass np.unique(y, return_inverse=True)[1]"
        elif y.dtype.kind == "b" or (y.dtype.kind == "f" and (y == np.rint(y)).all()):
            hint = "; pass y.astype('int64')"
        raise ValueError(f"`y` must hold integers that number the classes from 0{hint}. Received: y.dtype={y.dtype}")
    arrays = [x, y.astype(np.int64, copy=False)]
    if sample_weight is not None:
        weights = _array("sample_weight", sample_weight)
        if weights.shape != y.shape or weights.dtype.kind not in "uif":
            hint = "; pass sample_weight[:, 0]" if weights.shape == (len(x), 1) else ""
            raise ValueError(
                f"`sample_weight` must hold one number for each of the {len(x)} pictures, in one axis{hint}. "
                f"Received: sample_weight.shape={weights.shape}, dtype={weights.dtype}"
            )
        arrays.append(weights.astype(np.float32, copy=False))
    with tf.device("CPU:0"):
        # `tf.constant` always copies. This shares the memory of aligned arrays.
        return [tf.raw_ops.Identity(input=np.ascontiguousarray(array)) for array in arrays]


def _array(name, value):
    try:
        return np.asarray(value)
    except ValueError as error:  # NumPy's words for a list of unequal shapes
        raise ValueError(f"`{name}` must be one array: all its items need the same shape. {error}") from error
