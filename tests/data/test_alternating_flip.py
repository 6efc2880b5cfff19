"""AlternatingFlip: every picture both ways in any two epochs, from a start that only seed and picture decide."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras import Recipe, UserError
from davidnet_keras.data.augmentation import AlternatingFlip, Augmentation, RandomCrop, RandomFlip
from davidnet_keras.data.pipeline import steps_per_epoch, train_dataset
from davidnet_keras.data.random_batch_layer import BatchOrigin
from davidnet_keras.layers.normalization import Normalization

N = 22


def arrays(count=N):
    x = np.random.default_rng(4).integers(0, 256, (count, 4, 5, 3), dtype="uint8")
    return x, np.arange(count)


def seen(epochs, batch_size=8, layer=None, count=N, seed=3, **start):
    """Whether each picture is mirrored in each epoch, bool (epochs, pictures); every pixel is looked at."""
    x, y = arrays(count)
    mirrored = np.full((epochs, count), -1)
    dataset = train_dataset(x, y, batch_size, layer or AlternatingFlip(), seed, **start)
    steps = steps_per_epoch(count, batch_size)
    first = steps * start.get("initial_epoch", 0) + start.get("initial_step", 0)
    for step, (images, labels) in enumerate(itertools.islice(dataset, epochs * steps - first), first):
        for image, label in zip(images.numpy(), labels.numpy(), strict=True):
            turned = np.array_equal(image, x[label][:, ::-1])
            assert turned or np.array_equal(image, x[label])
            mirrored[step // steps, label] = turned
    return mirrored


def test_every_picture_is_seen_both_ways_in_any_two_epochs_from_a_start_of_its_own():
    mirrored = seen(5)
    assert set(mirrored[0]) == {0, 1}
    for one, next_one in itertools.pairwise(mirrored):
        np.testing.assert_array_equal(one, 1 - next_one)


def test_neither_order_nor_batch_size_nor_the_place_of_the_batch_matters():
    whole = seen(3)
    np.testing.assert_array_equal(seen(3, batch_size=5), whole)
    np.testing.assert_array_equal(seen(3, batch_size=N), whole)
    resumed = seen(3, initial_epoch=1, initial_step=2)
    np.testing.assert_array_equal(resumed[2], whole[2])
    shown = resumed[1] >= 0  # the last of the second epoch's batches
    assert shown.sum() == 6
    np.testing.assert_array_equal(resumed[1][shown], whole[1][shown])


def test_half_of_the_pictures_begin_mirrored_and_the_seed_decides_which():
    layer, index = AlternatingFlip(), np.arange(40_000)
    starts = [layer.draw_from(BatchOrigin(index, 0, seed), None, None)[0].numpy() for seed in ([0, 1], [0, 2], [1, 1])]
    for start in starts:
        assert abs(start.mean() - 0.5) < 5 * 0.5 / 200  # five standard deviations
        assert abs((start[1:] == start[:-1]).mean() - 0.5) < 5 * 0.5 / 200  # neighbours are independent
    for one, other in itertools.combinations(starts, 2):
        assert abs((one == other).mean() - 0.5) < 5 * 0.5 / 200
    assert not np.array_equal(seen(1, seed=3), seen(1, seed=4))


def test_eager_tf_data_and_compiled_code_show_the_same_pixels():
    x, _ = arrays()
    order = np.random.default_rng(0).permutation(N)
    layer = Augmentation([AlternatingFlip()])
    for epoch in (0, 1):
        origin = BatchOrigin(order, epoch, (5, 6))
        eager = layer(x[order], origin=origin).numpy()
        assert not np.array_equal(eager, x[order])
        data = tf.data.Dataset.from_tensors((x[order], order)).map(
            lambda images, index, epoch=epoch: layer(images, origin=BatchOrigin(index, epoch, (5, 6)))
        )
        np.testing.assert_array_equal(next(iter(data)), eager)

        @tf.function(jit_compile=True)
        def compiled(images, index, epoch):
            return layer(images, origin=BatchOrigin(index, epoch, (5, 6)))

        np.testing.assert_array_equal(compiled(x[order], order, tf.constant(epoch, tf.int64)), eager)


@pytest.mark.parametrize("compiled", [True, False])
def test_beside_other_layers_it_flips_after_they_have_drawn_as_ever(compiled):
    pairs = {}
    for flips in ([], [AlternatingFlip()]):
        layer = Augmentation([RandomCrop(1), *flips])  # by 1: a crop by 2 can be its own mirror image
        layer.supports_jit = compiled
        for step, (images, labels) in enumerate(itertools.islice(train_dataset(*arrays(), 8, layer), 6)):
            for image, label in zip(images.numpy(), labels.numpy(), strict=True):
                pairs.setdefault((step // 3, label), []).append(image)
    for label in range(N):
        turned = [np.array_equal(flipped, plain[:, ::-1]) for plain, flipped in (pairs[0, label], pairs[1, label])]
        kept = [np.array_equal(flipped, plain) for plain, flipped in (pairs[0, label], pairs[1, label])]
        assert sorted(turned) == sorted(kept) == [False, True]
        assert turned != kept


def test_without_knowing_the_pictures_it_refuses_in_words():
    x, _ = arrays()
    for layer in (AlternatingFlip(), Augmentation([RandomCrop(1), AlternatingFlip()])):
        with pytest.raises(ValueError, match=r"use it in train_dataset.*Received: origin=None"):
            layer(x)
        np.testing.assert_array_equal(layer(x, training=False), x)


def test_one_picture_without_a_batch_is_a_batch_of_one():
    x, _ = arrays()
    whole = AlternatingFlip()(x, origin=BatchOrigin(np.arange(N), 1)).numpy()
    for index in range(N):
        np.testing.assert_array_equal(AlternatingFlip()(x[index], origin=BatchOrigin(index, 1)), whole[index])


def test_arrays_and_lists_pass_through_call_and_stateless_call():
    x, _ = arrays()
    layer, origin = Augmentation([AlternatingFlip()]), BatchOrigin(list(range(N)), 1)
    expected = layer(x, origin=origin)
    assert not np.array_equal(expected, x)
    np.testing.assert_array_equal(layer.call(x, origin=origin), expected)
    np.testing.assert_array_equal(layer.call(x.tolist(), origin=origin), expected)
    state = [variable.numpy() for variable in layer.non_trainable_variables]
    np.testing.assert_array_equal(layer.stateless_call([], state, x, origin=origin)[0], expected)


def test_a_saved_layer_comes_back(tmp_path):
    layer = Augmentation([RandomCrop(1), AlternatingFlip(seed=4)], seed=2)
    inputs = keras.Input((4, 5, 3), dtype="uint8")
    keras.Model(inputs, layer(inputs)).save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    restored = model.layers[-1]
    assert isinstance(restored.layers[1], AlternatingFlip) and restored.get_config() == layer.get_config()
    np.testing.assert_array_equal(model.predict(arrays()[0], verbose=0), arrays()[0])  # as they are, outside training
    np.testing.assert_array_equal(seen(2, layer=restored.layers[1]), seen(2, layer=layer.layers[1]))


# --- in a recipe ---


@pytest.mark.parametrize(("settings", "kind"), [({}, RandomFlip), ({"alternating_flip": True}, AlternatingFlip)])
def test_the_recipe_says_how_to_flip(settings, kind, monkeypatch):
    from davidnet_keras.runs import train

    model = keras.Sequential([keras.Input((4, 5, 3)), Normalization(name="normalize")])
    monkeypatch.setattr(train, "train_dataset", lambda x, y, batch_size, augmentation, *rest: augmentation)
    augmentation = train.training_data(model, Recipe(crop_padding=2, **settings), [arrays()])
    assert [type(layer) for layer in augmentation.layers] == [RandomCrop, kind]


def test_alternating_without_flipping_is_refused():
    with pytest.raises(UserError, match=r"leave flip on.*alternating_flip=True, flip=False"):
        Recipe(flip=False, alternating_flip=True)
    assert not Recipe(flip=False).alternating_flip
