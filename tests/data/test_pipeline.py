"""Training batches are a pure function of (seed, epoch, step); `fit` draws them in step, on one device or two."""

import itertools
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras.data import pipeline
from davidnet_keras.data.augmentation import Augmentation, Cutout, RandomCrop, RandomFlip
from davidnet_keras.data.pipeline import steps_per_epoch, train_dataset
from davidnet_keras.data.random_batch_layer import RandomBatchLayer
from davidnet_keras.kernels.random import fold_seed

N, BATCH, STEPS = 22, 8, 3  # the last batch of an epoch holds 6


def arrays(count=N):
    """Pictures that can be told apart, each with its own label."""
    x = np.random.default_rng(4).integers(0, 256, (count, 6, 5, 3), dtype="uint8")
    return x, np.arange(count)


def take(count, *args, **kwargs):
    return [
        [part.numpy() for part in batch]
        for batch in itertools.islice(train_dataset(*arrays(), BATCH, *args, **kwargs), count)
    ]


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for part, other_part in zip(batch, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


def stack(compiled=False):
    layer = Augmentation([RandomCrop(2), RandomFlip()])
    layer.supports_jit = compiled  # compiling takes a second for each data set
    return layer


def test_each_epoch_holds_every_picture_once_in_an_order_of_its_own():
    x, _ = arrays()
    batches = take(3 * STEPS)
    assert [len(labels) for _, labels in batches] == [8, 8, 6] * 3
    for images, labels in batches:
        assert images.dtype == "uint8" and labels.dtype == "int64"
        np.testing.assert_array_equal(images, x[labels])  # pictures and labels stay together
    epochs = [np.concatenate([labels for _, labels in batches[i : i + STEPS]]) for i in (0, 3, 6)]
    for order in epochs:
        assert sorted(order) == list(range(N)) != list(order)
    assert len({tuple(order) for order in epochs}) == 3


def test_shuffling_is_uniform():
    """Each picture comes first equally often, over 440 epochs of one batch."""
    dataset = train_dataset(*arrays(), N)
    counts = np.bincount([labels[0] for _, labels in itertools.islice(dataset, 440)], minlength=N)
    assert ((counts - 20) ** 2 / 20).sum() < 21 + 5 * np.sqrt(42)


def test_batches_do_not_depend_on_what_was_iterated_before_nor_on_parallelism():
    dataset = train_dataset(*arrays(), BATCH, stack())
    first = [[part.numpy() for part in batch] for batch in itertools.islice(dataset, 5)]
    again, interleaved = iter(dataset), iter(dataset)
    for batch in first:
        next(interleaved)
        assert_same([batch], [[part.numpy() for part in next(again)]])
    assert_same(take(5, stack(), num_parallel_calls=1), first)
    assert_same(take(5, stack(), num_parallel_calls=4), first)


def test_starting_in_the_middle_gives_the_batches_of_the_whole_run():
    whole = take(3 * STEPS, stack())
    for epoch, step in [(0, 2), (1, 0), (1, 1)]:
        skipped = STEPS * epoch + step
        assert_same(take(4, stack(), initial_epoch=epoch, initial_step=step), whole[skipped : skipped + 4])


def test_the_seed_decides_order_and_augmentation():
    (one, labels), (two, other_labels) = take(1, stack(), seed=-1)[0], take(1, stack(), seed=2)[0]
    assert not np.array_equal(labels, other_labels)
    both = set(labels) & set(other_labels)
    changed_alike = [np.array_equal(one[labels == i][0], two[other_labels == i][0]) for i in both]
    assert changed_alike and not all(changed_alike)


@pytest.mark.parametrize("compiled", [True, False])
def test_augmented_batches_equal_the_layer_called_eagerly(compiled):
    layer, seeds = stack(compiled), []
    seed = fold_seed([3, 0], 1)
    x, _ = arrays()
    for index, (images, labels) in enumerate(take(STEPS + 1, layer, seed=3)):
        seeds.append(fold_seed(seed, index))  # the step counted from the start of the run
        np.testing.assert_array_equal(images, layer(x[labels], seed=seeds[-1]))
        assert not np.array_equal(images, x[labels])
    assert len({tuple(each.numpy()) for each in seeds}) == STEPS + 1


def test_the_batches_of_a_seed_stay_the_same_bits_from_release_to_release():
    """Runs that were begun earlier go on with the pictures that they would have seen."""
    checksum = 0
    for images, labels in take(7, Augmentation([RandomCrop(2), RandomFlip(), Cutout(3, fill=9)]), seed=3):
        checksum = zlib.crc32(labels.tobytes(), zlib.crc32(images.tobytes(), checksum))
    assert checksum == 0xE9BAC351


def test_a_layer_may_know_which_pictures_these_are_the_epoch_and_the_runs_seed():
    class Mark(RandomBatchLayer):
        """Writes what it is told into the pictures."""

        def draw_from(self, origin, seed, shape):
            of_run = tf.fill([shape[0]], tf.reduce_sum(origin.seed) % 251)
            return tf.cast(origin.index, tf.int64), tf.fill([shape[0]], origin.epoch), of_run

        def transform(self, images, *told):
            return tf.cast(tf.stack(told, -1)[:, None, None, :], images.dtype) + tf.zeros_like(images)

    seeds = set()
    for stacked in (Mark(), Augmentation([Augmentation([RandomCrop(1), Mark()])])):
        for step, (images, labels) in enumerate(take(2 * STEPS, stacked, seed=3)):
            np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
            assert (images[..., 1] == step // STEPS).all()
            seeds |= set(images[..., 2].ravel())
    assert len(seeds) == 2  # one for the layer alone, one where it stands in the stack; the same in every batch


def test_sample_weights_stay_with_their_pictures():
    for _, labels, weights in take(STEPS, sample_weight=np.arange(N) / 2):
        assert weights.dtype == "float32"
        np.testing.assert_array_equal(weights, labels / 2)


def test_a_batch_larger_than_the_set_is_the_set():
    labels = [labels.numpy() for _, labels in itertools.islice(train_dataset(*arrays(), 1000), 2)]
    assert [sorted(each) for each in labels] == [list(range(N))] * 2


def test_test_batches_are_the_arrays_in_order():
    x, y = arrays()
    dataset = pipeline.test_dataset(x, y.astype("uint8"), BATCH, sample_weight=y)
    assert int(dataset.cardinality()) == STEPS
    images, labels, weights = (np.concatenate(parts) for parts in zip(*dataset, strict=True))
    np.testing.assert_array_equal(images, x)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(weights, y)
    assert labels.dtype == "int64" and weights.dtype == "float32"


def test_steps_per_epoch_rounds_up():
    assert [steps_per_epoch(50_000, 512), steps_per_epoch(1024, 512), steps_per_epoch(3, 512)] == [98, 2, 1]


def test_aligned_arrays_are_shared_not_copied_and_others_copied_once():
    memory = np.zeros(5000, "uint8")
    start = -memory.ctypes.data % 64
    for offset, shared in ((start, True), (start + 1, False)):
        array = memory[offset : offset + 4800].reshape(4, 20, 20, 3)
        held, _ = pipeline._hold_arrays(array, np.zeros(4, int), None)
        array[:] = offset + 1 & 255
        assert (held.numpy() == array).all() == shared


def test_the_data_set_is_infinite_and_its_batches_of_known_picture_size():
    dataset = train_dataset(*arrays(), BATCH, stack())
    assert int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY
    assert dataset.element_spec[0].shape.as_list() == [None, 6, 5, 3]
    assert dataset.element_spec[1].shape.as_list() == [None]


# --- in `fit` ---


@keras.saving.register_keras_serializable(package="davidnet_keras_tests")
class LabelRecorder(keras.Model):
    """Learns nothing worth having, and writes down the labels and weights that each step was given."""

    def __init__(self):
        super().__init__()
        self.average = keras.layers.GlobalAveragePooling2D()
        self.dense = keras.layers.Dense(1)
        self.steps = []

    def call(self, x):
        return self.dense(self.average(x))

    def train_step(self, data):
        _, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if weight is None:
            weight = tf.ones_like(y, tf.float32)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        tf.numpy_function(lambda *parts: self.steps.append(parts), [replica, y, weight], [])
        return super().train_step(data)


def fitted(dataset, epochs=2, **kwargs):
    model = LabelRecorder()
    model.compile("sgd", "mse")
    model.fit(dataset, steps_per_epoch=STEPS, epochs=epochs, shuffle=False, verbose=0, **kwargs)
    return model.steps


def test_fit_draws_all_epochs_in_step_whatever_validation_does_between():
    x, y = arrays()
    steps = fitted(train_dataset(x, y, BATCH), validation_data=pipeline.test_dataset(x, y, BATCH))
    for (_, labels, _), (_, expected) in zip(steps, take(2 * STEPS), strict=True):
        np.testing.assert_array_equal(labels, expected)


def test_a_second_fit_from_a_later_epoch_continues_the_first():
    resumed = fitted(train_dataset(*arrays(), BATCH, initial_epoch=1), epochs=2, initial_epoch=1)
    for (_, labels, _), (_, expected) in zip(resumed, take(2 * STEPS)[STEPS:], strict=True):
        np.testing.assert_array_equal(labels, expected)


def test_class_weights_reach_the_step():
    weights = {label: 0.5 if label % 2 else 2.0 for label in range(N)}
    for _, labels, weight in fitted(train_dataset(*arrays(), BATCH), class_weight=weights):
        np.testing.assert_array_equal(weight, np.where(labels % 2, 0.5, 2.0))


def test_two_replicas_share_each_batch_of_one_device_pictures_never_cross_an_epoch(two_cpus):
    if len(two_cpus) < 2:
        pytest.skip("needs two logical CPU devices")
    x, y = arrays()
    strategy = tf.distribute.MirroredStrategy(two_cpus, tf.distribute.HierarchicalCopyAllReduce())
    dataset = train_dataset(x, y, BATCH, stack(compiled=True))
    shared = iter(strategy.experimental_distribute_dataset(dataset))
    for images, labels in take(2 * STEPS, stack()):
        parts = [strategy.experimental_local_results(part) for part in next(shared)]
        assert [len(part) for part in parts[1]] == [len(labels) // 2] * 2
        np.testing.assert_array_equal(np.concatenate(parts[0]), images)
        np.testing.assert_array_equal(np.concatenate(parts[1]), labels)
    tested = strategy.experimental_distribute_dataset(pipeline.test_dataset(x, y, BATCH))
    seen = [np.concatenate(strategy.experimental_local_results(labels)) for _, labels in tested]
    np.testing.assert_array_equal(np.concatenate(seen), y)


# --- bad arguments ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((4, 8, 8), "uint8")}, r"number, height, width, channels.*Received: x\.shape=\(4, 8, 8\)"),
        ({"x": np.zeros((0, 8, 8, 3), "uint8")}, r"one at least"),
        ({"x": np.zeros((N, 6, 5, 3), "int32")}, r"uint8 or floats.*Received: x\.dtype=int32"),
        ({"y": np.arange(5)}, rf"one label for each of the {N}.*Received: y\.shape=\(5,\)"),
        ({"x": np.zeros((N, 6, 5), "uint8")}, r"grey pictures, pass x\[\.\.\., None\]"),
        ({"x": np.zeros((N, 6, 5, 3), "int64")}, r"pass x\.astype\('uint8'\).*Received: x\.dtype=int64"),
        ({"x": [np.zeros((6, 5, 3)), np.zeros((5, 5, 3))]}, r"`x` must be one array.*the same shape"),
        ({"y": [[1], [2, 3]]}, r"`y` must be one array.*the same shape"),
        ({"y": np.zeros((N, 1), int)}, r"one axis; pass y\[:, 0\]\. Received: y\.shape=\(22, 1\)"),
        ({"y": np.arange(5)}, r"in one axis\. Received: y\.shape=\(5,\)"),
        ({"y": np.eye(N)}, r"one axis; these are one-hot: pass y\.argmax\(1\)\. Received: y\.shape=\(22, 22\)"),
        ({"y": np.eye(N, 30, dtype=bool)}, r"one-hot: pass y\.argmax\(1\)"),
        ({"y": np.full((N, 2), 0.5)}, r"probabilities, are not supported\. Received: y\.shape=\(22, 2\)"),
        ({"y": np.ones((N, 4), int)}, r"several classes, or their probabilities, are not supported"),
        ({"y": np.zeros(N)}, r"integers.*; pass y\.astype\('int64'\)\. Received: y\.dtype=float64"),
        ({"y": np.zeros(N, bool)}, r"pass y\.astype\('int64'\)\. Received: y\.dtype=bool"),
        ({"y": np.full(N, 0.5)}, r"classes from 0\. Received: y\.dtype=float64"),
        ({"y": np.full(N, np.nan)}, r"classes from 0\. Received: y\.dtype=float64"),
        ({"y": ["cat"] * N}, r"for names, pass np\.unique\(y, return_inverse=True\)\[1\]\. Received: y\.dtype=<U3"),
        ({"y": np.array(["cat"] * N, object)}, r"return_inverse=True\)\[1\]\. Received: y\.dtype=object"),
        ({"sample_weight": np.ones((N, 1))}, r"one number for each.*; pass sample_weight\[:, 0\]"),
        ({"augmentation": keras.layers.RandomFlip()}, r"Keras's own.*go into the model.*Received: augmentation="),
        ({"sample_weight": np.ones(3)}, r"one number for each.*Received: sample_weight"),
        ({"batch_size": 0}, r"1 or more.*Received: batch_size=0"),
        ({"batch_size": 2.5}, r"Received: batch_size=2\.5"),
        ({"seed": "0"}, r"whole number.*Received: seed='0'"),
        ({"seed": 2**63}, r"Received: seed="),
        ({"initial_epoch": -1}, r"0 or more.*Received: initial_epoch=-1"),
        ({"initial_step": STEPS}, rf"steps 0 to {STEPS - 1}.*Received: initial_step={STEPS}"),
        ({"num_parallel_calls": 0}, r"Received: num_parallel_calls=0"),
        ({"augmentation": keras.layers.Rescaling}, r"must be one layer.*Received: augmentation="),
        ({"augmentation": [RandomCrop(1)]}, r"Received: augmentation=\["),
        ({"augmentation": RandomCrop(5)}, r"less than height and width, here 6 and 5.*Received: padding=5"),
    ],
)
def test_bad_arguments_are_refused_in_words(change, message):
    x, y = arrays()
    with pytest.raises(ValueError, match=message):
        train_dataset(**{"x": x, "y": y, "batch_size": BATCH, **change})
