"""Arrays of pictures -> `tf.data`: shuffled, augmented batches for training, plain ones for testing.

A training batch is a pure function of (seed, epoch, step): earlier iterations, other iterators, the step that a data
set starts at and the number of threads make no difference.
"""

from typing import Any

import numpy as np

from davidnet_keras.data.random_batch_layer import BatchOrigin, RandomBatchLayer
from davidnet_keras.errors import whole_number
from davidnet_keras.kernels.backend import tf
from davidnet_keras.kernels.random import draw_bits, fold_seed

# Folded into the seed, so that the order of the pictures, the draws of each batch and what is drawn once for each
# picture are independent.
_ORDER, _CHANGES, _PICTURES = 0, 1, 2
_MOST = 2**63 - 1  # int64


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
    """Make the endless data set of training batches, with each epoch in its own order.

    Each epoch holds every picture once, in batches of `batch_size`; the last one may be smaller. As the data set never
    ends, tell `fit` the length of an epoch. `fit` then draws all epochs from one iterator, so `steps_per_execution`, if
    used, must divide `steps_per_epoch`. (`shuffle=False` avoids a warning of Keras 3.15.)

    Arrays that begin at a multiple of 64 bytes, such as those of `load_cifar10`, are shared with TensorFlow, others
    copied once. Do not change them while the data set is in use.

    Shapes:
        x (N, H, W, C), y (N,), sample_weight (N,) -> batches (B, H, W, C) of x's dtype, (B,) int64 and, with weights,
        (B,) float32.

    Args:
        x: Pictures, uint8 or floats.
        y: Labels, integers.
        batch_size: Pictures in a batch; if larger than N, each epoch is one batch.
        augmentation: Layer applied to whole batches, such as `Augmentation([RandomCrop(), RandomFlip()])` or any other
            `RandomBatchLayer`. Compiled with XLA unless its `supports_jit` is false.
        seed: Integer that fixes order and augmentation of every epoch.
        initial_epoch: Epoch of the first batch, from 0.
        initial_step: Step of the first batch in that epoch, from 0.
        sample_weight: Weight of each picture, or None for batches without weights.
        num_parallel_calls: Batches made at the same time.

    Raises:
        ValueError: If an argument does not fit.

    Example:

    ```python
    model.fit(train_dataset(x, y, 512), steps_per_epoch=steps_per_epoch(len(x), 512), shuffle=False, epochs=24)
    ```

    Source: the reference notebook's `tf.data` pipeline, which shuffles pictures instead of indices.
    """
    arrays = _check_arrays(x, y, sample_weight)
    batch_size = min(whole_number("batch_size", batch_size, 1), len(arrays[0]))
    steps = steps_per_epoch(len(arrays[0]), batch_size)
    seed = whole_number("seed", seed, -_MOST - 1, _MOST)
    first = whole_number("initial_epoch", initial_epoch, 0), whole_number("initial_step", initial_step, 0)
    if first[1] >= steps:
        raise ValueError(f"An epoch has steps 0 to {steps - 1}. Received: initial_step={initial_step}")
    if augmentation is not None and not isinstance(augmentation, RandomBatchLayer):
        raise ValueError(
            "`augmentation` must be one layer derived from RandomBatchLayer, such as Augmentation([RandomCrop(), "
            "RandomFlip()]); Keras's own augmentation layers go into the model, or into `dataset.map`. "
            f"Received: augmentation={augmentation!r}"
        )
    num_parallel_calls = whole_number("num_parallel_calls", num_parallel_calls, 1)

    dataset = _steps(len(arrays[0]), batch_size, seed, *first).map(
        _batch_maker(_hold(arrays), augmentation, seed, steps),
        num_parallel_calls=num_parallel_calls,
        deterministic=True,
    )
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return dataset.prefetch(2 * num_parallel_calls).with_options(_options())


def test_dataset(x: Any, y: Any, batch_size: int = 1000, sample_weight: Any = None) -> tf.data.Dataset:
    """Make the data set of test batches: once through the arrays, in order, unchanged.

    Shapes, arguments and errors are those of `train_dataset`; do not change the arrays while it is in use.
    """
    arrays = _check_arrays(x, y, sample_weight)
    batch_size = min(whole_number("batch_size", batch_size, 1), len(arrays[0]))
    steps = steps_per_epoch(len(arrays[0]), batch_size)
    held = _hold(arrays)

    @tf.autograph.experimental.do_not_convert
    def batch(step):
        return tuple(array[step * batch_size : (step + 1) * batch_size] for array in held)

    return tf.data.Dataset.range(steps).map(batch).prefetch(2).with_options(_options())


test_dataset.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of batches in an epoch: `num_images` / `batch_size`, rounded up."""
    return -(-whole_number("num_images", num_images, 1) // whole_number("batch_size", batch_size, 1))


def _steps(num_images, batch_size, seed, initial_epoch, initial_step):
    """Return the data set of (epoch, step, indices of the batch's pictures)."""
    steps = steps_per_epoch(num_images, batch_size)
    order_seed = _seed(seed, _ORDER)

    # Autograph has nothing to convert here.
    @tf.autograph.experimental.do_not_convert
    def epoch_of_steps(epoch):
        order = tf.argsort(draw_bits(fold_seed(order_seed, epoch), (num_images,), "int64"), stable=True)
        # Cut by hand, so that an epoch can start at any of its steps.
        first = tf.where(epoch == initial_epoch, tf.constant(initial_step, tf.int64), 0)

        @tf.autograph.experimental.do_not_convert
        def indices(step):
            return epoch, step, order[step * batch_size : (step + 1) * batch_size]

        return tf.data.Dataset.range(first, steps).map(indices)

    return tf.data.Dataset.range(initial_epoch, np.iinfo(np.int64).max).flat_map(epoch_of_steps)


def _batch_maker(arrays, augmentation, seed, steps):
    """Return the function (epoch, step, indices) -> batch."""
    changes, of_pictures = _seed(seed, _CHANGES), _seed(seed, _PICTURES)
    if augmentation is not None:
        augmentation.check_shape(arrays[0].shape)
        # XLA makes one loop of the lookups, several times as fast as the same operations one by one.
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
    """Return tensors on the host; a captured tensor enters the graph as an input, not as a copy."""
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
        raise ValueError(
            f"`y` must hold one label for each of the {len(x)} pictures, in one axis{_how_to_flatten(y)}. "
            f"Received: y.shape={y.shape}"
        )
    if y.dtype.kind not in "ui":
        raise ValueError(
            f"`y` must hold integers, the numbers of the classes from 0{_how_to_number(y)}. Received: y.dtype={y.dtype}"
        )
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
    return arrays


def _array(name, value):
    try:
        return np.asarray(value)
    except ValueError as error:  # NumPy's words for a list of unequal shapes
        raise ValueError(f"`{name}` must be one array: all its items need the same shape. {error}") from error


def _how_to_flatten(y):
    """Return what to pass instead of labels that have the wrong shape, as the end of a sentence."""
    if y.ndim == 2 and y.shape[1] == 1:
        return "; pass y[:, 0]"
    if y.ndim == 2 and y.dtype.kind in "buif" and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all():
        return "; these are one-hot: pass y.argmax(1)"
    if y.ndim == 2 and y.dtype.kind in "buif":
        return "; labels of several classes, or their probabilities, are not supported"
    return ""


def _how_to_number(y):
    """Return what to pass instead of labels that are no integers, as the end of a sentence."""
    if y.dtype.kind in "USO" and all(isinstance(label, str | bytes) for label in y):
        return "; for names, pass np.unique(y, return_inverse=True)[1]"
    if y.dtype.kind == "b" or (y.dtype.kind == "f" and (y == np.rint(y)).all()):
        return "; pass y.astype('int64')"
    return ""
