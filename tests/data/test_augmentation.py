"""Augmentation layers: each against a plain definition, eagerly, in `tf.data` and compiled; draws against chance."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras.data.augmentation import Augmentation, Cutout, RandomCrop, RandomFlip
from davidnet_keras.data.random_batch_layer import RandomBatchLayer
from davidnet_keras.kernels.image_ops import crop, cutout
from davidnet_keras.kernels.random import fold_seed

LAYERS = {
    "crop": lambda: RandomCrop(3, seed=7),
    "flip": lambda: RandomFlip(0.4, seed=7),
    "cutout": lambda: Cutout(4, fill=[10, 20.6, 30], seed=7),
    "stack": lambda: Augmentation([RandomCrop(2), RandomFlip(), Cutout(3, fill=9)], seed=7),
}
SEED = [12, 34]


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]()


def pictures(count=6, height=8, width=11, channels=3, dtype="uint8"):
    return np.random.default_rng(1).integers(0, 256, (count, height, width, channels)).astype(dtype)


def plain_crop(images, dy, dx, padding):
    out = np.empty_like(images)
    for i, image in enumerate(images):
        padded = np.pad(image, [(padding, padding), (padding, padding), (0, 0)], mode="reflect")
        out[i] = padded[dy[i] : dy[i] + image.shape[0], dx[i] : dx[i] + image.shape[1]]
    return out


def plain_flip(images, mask):
    return np.stack([image[:, ::-1] if mirrored else image for image, mirrored in zip(images, mask, strict=True)])


def plain_cutout(images, top, left, size, fill):
    out = images.copy()
    for i in range(len(images)):
        for row in range(top[i], top[i] + size):
            for column in range(left[i], left[i] + size):
                out[i, row, column] = fill
    return out


def draws_of(layer, images, seed=SEED):
    return [draw.numpy() for draw in layer.draw(seed, images.shape)]


# --- the pictures ---


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "int64"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_crop_equals_the_plain_definition_pixel_by_pixel(dtype, channels):
    images = pictures(channels=channels, dtype=dtype)
    out = RandomCrop(3)(images, seed=SEED)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, plain_crop(images, *draws_of(RandomCrop(3), images), 3))


def test_crop_is_right_at_every_offset_and_at_the_greatest_padding():
    dy, dx = (axis.ravel().astype("int32") for axis in np.mgrid[:15, :15])
    images = pictures(len(dy), 8, 8)
    np.testing.assert_array_equal(crop(images, tf.constant(dy), tf.constant(dx), 7), plain_crop(images, dy, dx, 7))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_flip_equals_the_plain_definition_pixel_by_pixel(dtype):
    images = pictures(dtype=dtype)
    (mask,) = draws_of(RandomFlip(), images)
    assert 0 < mask.sum() < len(mask)
    out = RandomFlip()(images, seed=SEED)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, plain_flip(images, mask))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_cutout_equals_the_plain_definition_pixel_by_pixel(dtype):
    images, layer = pictures(dtype=dtype), Cutout(4, fill=[10, 20.6, 30])
    out = layer(images, seed=SEED)
    assert out.dtype == dtype
    fill = [10, 21, 30] if dtype == "uint8" else [10, 20.6, 30]
    np.testing.assert_array_equal(out, plain_cutout(images, *draws_of(layer, images), 4, fill))


def test_cutout_takes_its_fill_from_an_array_and_can_cover_the_whole_picture():
    images = pictures(height=5, width=5)
    np.testing.assert_array_equal(
        Cutout(5, fill=np.float32([1, 2, 3]))(images), np.broadcast_to([1, 2, 3], images.shape)
    )
    np.testing.assert_array_equal(Cutout(5)(images), 0)


def test_a_stack_applies_its_layers_in_order_each_with_its_own_seed():
    images = pictures()
    layers = [RandomCrop(2), RandomCrop(2), RandomFlip(), Cutout(3, fill=9)]
    expected = images
    for position, layer in enumerate(layers):
        expected = layer(expected, seed=fold_seed(SEED, position))
    np.testing.assert_array_equal(Augmentation(layers)(images, seed=SEED), expected)
    draws = [draws_of(layers[0], images, fold_seed(SEED, position)) for position in range(2)]
    assert not np.array_equal(*draws)


def test_a_stack_may_hold_stacks_and_layers_of_the_users_own():
    class Darken(RandomBatchLayer):
        def draw(self, seed, shape):
            return (tf.fill((shape[0],), tf.cast(2, tf.uint8)),)

        def transform(self, images, by):
            return images // by[:, None, None, None]

    out = Augmentation([Augmentation([Darken()]), Darken()])(pictures())
    np.testing.assert_array_equal(out, pictures() // 4)
    np.testing.assert_array_equal(Augmentation([])(pictures()), pictures())


# --- the contexts ---


def test_the_same_seed_gives_the_same_pictures_eagerly_in_tf_data_and_compiled(layer):
    images = pictures()
    eager = layer(images, seed=SEED).numpy()
    assert not np.array_equal(eager, images)
    in_data = tf.data.Dataset.from_tensors(images).map(lambda batch: layer(batch, seed=tf.constant(SEED)))
    np.testing.assert_array_equal(next(iter(in_data)), eager)
    compiled = tf.function(lambda batch: layer(batch, seed=tf.constant(SEED, tf.int64)), jit_compile=True)
    np.testing.assert_array_equal(compiled(images), eager)
    unknown_sizes = tf.function(
        lambda batch: layer(batch, seed=SEED), input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)]
    )
    np.testing.assert_array_equal(unknown_sizes(images), eager)


def test_a_compiled_model_augments_while_it_trains_and_only_then():
    class Watcher(keras.layers.Layer):
        def build(self, shape):
            self.seen = self.add_weight(shape=(6, *shape[1:]), trainable=False, initializer="zeros")

        def call(self, images):
            self.seen.assign(keras.ops.cast(images, "float32"))
            return keras.ops.mean(keras.ops.cast(images, "float32"), axis=(1, 2))  # (6, 3)

    images, watcher = pictures(), Watcher()
    layer, alike = LAYERS["stack"](), LAYERS["stack"]()
    inputs = keras.Input((8, 11, 3), dtype="uint8")
    model = keras.Model(inputs, keras.layers.Dense(1)(watcher(layer(inputs))))
    model.compile("sgd", "mse", jit_compile=True)
    for _ in range(2):  # the sequence of the layer's own generator, compiled and eagerly
        model.train_on_batch(images, np.zeros((6, 1)))
        np.testing.assert_array_equal(watcher.seen, alike(images))
    assert not np.array_equal(watcher.seen, images)
    model(images, training=False)
    np.testing.assert_array_equal(watcher.seen, images)


def test_training_false_changes_nothing_and_none_augments(layer):
    images = pictures()
    np.testing.assert_array_equal(layer(images, training=False, seed=SEED), images)
    np.testing.assert_array_equal(layer(images, training=None, seed=SEED), layer(images, training=True, seed=SEED))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_dtype_and_shape_are_kept_under_a_mixed_policy_and_as_announced(layer, dtype):
    layer = type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})
    images = pictures(dtype=dtype)
    out = layer(images)
    assert out.dtype == dtype
    announced = layer(keras.KerasTensor((None, 8, 11, 3), dtype=dtype))
    assert announced.dtype == dtype and announced.shape == (None, 8, 11, 3)
    assert layer.compute_output_shape((None, 8, 11, 3)) == (None, 8, 11, 3)


def test_one_picture_without_a_batch_is_a_batch_of_one(layer):
    image = pictures(1)
    np.testing.assert_array_equal(layer(image[0], seed=SEED), layer(image, seed=SEED)[0])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_arrays_and_lists_pass_through_call_and_stateless_call(layer, dtype):
    """As through Keras's own layers, which convert them."""
    images = pictures(dtype=dtype)
    expected = layer(images, seed=SEED)
    for given in (images, tf.constant(images)):
        for out in (layer.call(given, seed=SEED), layer.stateless_call([], [*layer.non_trainable_variables], given)[0]):
            assert tf.is_tensor(out) and out.dtype == dtype and out.shape == images.shape
        np.testing.assert_array_equal(layer.call(given, seed=SEED), expected)
        np.testing.assert_array_equal(layer.call(given, training=False), images)
        np.testing.assert_array_equal(layer.call(given[0], seed=SEED), layer(given[:1], seed=SEED)[0])
    listed = layer.call(pictures().tolist(), seed=SEED)
    assert listed.dtype == "int32"
    np.testing.assert_array_equal(listed, layer(pictures(), seed=SEED))


# --- the draws ---


def test_every_crop_offset_occurs_equally_often_in_pairs():
    dy, dx = RandomCrop(4).draw(SEED, tf.constant([81_000, 32, 32, 3]))
    counts = np.bincount(9 * dy.numpy() + dx.numpy(), minlength=81)
    assert len(counts) == 81
    # 80 degrees of freedom: mean 80, standard deviation 12.6.
    assert ((counts - 1000) ** 2 / 1000).sum() < 80 + 5 * 12.6


def test_every_cutout_place_inside_the_picture_occurs_equally_often():
    top, left = Cutout(8).draw(SEED, tf.constant([25_000, 12, 12, 3]))
    counts = np.bincount(5 * top.numpy() + left.numpy(), minlength=25)
    assert len(counts) == 25 and ((counts - 1000) ** 2 / 1000).sum() < 24 + 5 * 7
    top, left = Cutout(8).draw(SEED, tf.constant([2000, 9, 30, 3]))
    assert set(top.numpy()) == {0, 1} and set(left.numpy()) == set(range(23))


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_flips_occur_at_their_rate(rate):
    mask = RandomFlip(rate).draw(SEED, tf.constant([10_000, 8, 8, 3]))[0].numpy()
    assert abs(mask.mean() - rate) <= 5 * np.sqrt(rate * (1 - rate) / 10_000)


def test_each_picture_has_its_own_draw():
    images = np.repeat(pictures(1), 64, axis=0)
    out = Augmentation([RandomCrop(3), RandomFlip()])(images, seed=SEED).numpy()
    assert len(np.unique(out.reshape(64, -1), axis=0)) > 30  # of 98 possible


def test_seeds_that_differ_in_either_number_draw_differently_and_independently():
    layer, shape = RandomCrop(4), tf.constant([9000, 32, 32, 3])
    reference = layer.draw([1, 2], shape)[0].numpy()
    for other in ([1, 3], [2, 2], [2, 1], [-1, 2], [1 + 2**40, 2]):
        agreement = (layer.draw(other, shape)[0].numpy() == reference).mean()
        assert abs(agreement - 1 / 9) < 5 * np.sqrt(8 / 81 / 9000)


def test_a_layers_own_sequence_advances_and_follows_from_its_seed():
    images = pictures(64)
    one, two = RandomCrop(seed=5), RandomCrop(seed=5)
    first, second = one(images[:, :, :8]).numpy(), one(images[:, :, :8]).numpy()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(two(images[:, :, :8]), first)
    np.testing.assert_array_equal(two(images[:, :, :8]), second)
    one(images[:, :, :8], seed=SEED)
    np.testing.assert_array_equal(one(images[:, :, :8]), two(images[:, :, :8]))  # a given seed advances nothing


# --- saving and bad arguments ---


def test_a_saved_model_augments_as_before(layer, tmp_path):
    inputs = keras.Input((8, 11, 3), dtype="uint8")
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    assert type(restored) is type(layer) and restored.get_config() == layer.get_config()
    images = pictures()
    np.testing.assert_array_equal(restored(images, seed=SEED), layer(images, seed=SEED))
    clone = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(clone(images), restored(images))  # the constructor's seed survives too


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(-1), r"whole number of 0 or more.*Received: padding=-1"),
        (lambda: RandomCrop(1.5), r"Received: padding=1\.5"),
        (lambda: RandomCrop(True), r"Received: padding=True"),
        (lambda: RandomCrop(seed="1"), r"`seed` must be a whole number\. Received: seed='1'"),
        (lambda: RandomFlip(1.1), r"from 0 to 1.*Received: rate=1\.1"),
        (lambda: RandomFlip("often"), r"Received: rate='often'"),
        (lambda: Cutout(0), r"whole number of 1 or more.*Received: size=0"),
        (lambda: Cutout(fill="grey"), r"finite number.*Received: fill='grey'"),
        (lambda: Cutout(fill=[[1, 2]]), r"Received: fill="),
        (lambda: Cutout(fill=float("nan")), r"Received: fill=nan"),
        (lambda: Augmentation([keras.layers.RandomFlip()]), r"derive yours from RandomBatchLayer\. Received: layers="),
        (lambda: Augmentation([len]), r"Received: layers="),
        (lambda: RandomCrop(8)(pictures()), r"less than height and width, here 8 and 11.*Received: padding=8"),
        (lambda: Cutout(9)(pictures()), r"fit inside the pictures, here 8 x 11.*Received: size=9"),
        (lambda: Cutout(2, fill=[1, 2])(pictures()), r"each of the 3 channels.*Received: fill="),
        (lambda: Cutout(2, fill=300)(pictures()), r"uint8 cannot hold the fill.*Received: fill=300"),
        (lambda: RandomFlip()(np.zeros((3, 4))), r"must be \(batch, height, width, channels\)"),
    ],
)
def test_bad_arguments_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_pure_cutout_refuses_a_negative_fill_for_bytes():
    with pytest.raises(ValueError, match="cannot hold the fill"):
        cutout(tf.constant(pictures()), tf.zeros(6, tf.int32), tf.zeros(6, tf.int32), 2, -1)
