import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras import FastNet, Muon, ParameterGroup, PartialIdentity, SmoothedCrossentropy
from davidnet_keras.models.cost import multiply_accumulates

WIDTHS = (6, 8, 8)


def pictures(count=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count)


def small(**settings):
    keras.utils.set_random_seed(0)
    return FastNet(**{"widths": WIDTHS} | settings)


def test_its_weights_and_arithmetic_are_airbench94s():
    model = FastNet()
    shapes = sorted(tuple(weight.shape) for weight in model.trainable_weights if len(weight.shape) == 4)
    pairs = [(24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256)]
    assert shapes == sorted((3, 3, *pair) for pair in pairs)
    assert model.get_layer("whiten").kernel.shape == (2, 2, 3, 24)
    head = model.get_layer("head").kernel.numpy()
    assert head.std() == pytest.approx(1, abs=0.05) and np.abs(head).max() <= 3**0.5
    assert model.settings["logit_scale"] == 1 / 256
    # The whitening layer's bias, two norms a block of which only the shift is trained, the head.
    others = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights if len(weight.shape) < 4)
    assert others == 24 + 2 * (64 + 256 + 256) + 2560
    places = (31**2, 15**2, 15**2, 7**2, 7**2, 3**2)
    convolutions = sum(9 * size * one * other for size, (one, other) in zip(places, pairs, strict=True))
    assert multiply_accumulates(model) == 31**2 * 12 * 24 + convolutions + 2560 == 118_147_360


def test_the_forward_pass_layer_by_layer():
    model = small(activation="relu", logit_scale=0.5)
    x, _ = pictures()
    model.adapt(x)

    def norm(h):
        mean, variance = tf.nn.moments(h, [0, 1, 2])
        return tf.nn.relu((h - mean) / tf.sqrt(variance + 1e-12))

    whiten = model.get_layer("whiten")
    whiten.bias.assign(np.linspace(-1, 1, 24))
    h = ((x - x.mean((0, 1, 2))) / x.std((0, 1, 2))).astype("float32")
    h = tf.nn.relu(tf.nn.conv2d(h, whiten.kernel.value, 1, "VALID") + whiten.bias.value)
    for number in (1, 2, 3):
        block = model.get_layer(f"block{number}")
        h = norm(tf.nn.max_pool2d(tf.nn.conv2d(h, block.first.kernel.value, 1, "SAME"), 2, 2, "VALID"))
        h = norm(tf.nn.conv2d(h, block.second.kernel.value, 1, "SAME"))
    expected = 0.5 * tf.reduce_max(h, [1, 2]) @ model.get_layer("head").kernel.value
    np.testing.assert_allclose(model(x, training=True), expected, rtol=1e-3, atol=1e-3)


def test_fit_moves_all_that_is_to_be_trained_and_not_the_whitening_kernel():
    model = small()
    x, y = pictures(32)
    model.adapt(x)
    model.compile(Muon(0.1), SmoothedCrossentropy(0.2), metrics=["accuracy"])
    before = {weight.path: weight.numpy() for weight in model.weights}
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    still = {weight.path for weight in model.weights if np.array_equal(weight.numpy(), before[weight.path])}
    fixed = {"normalize/mean", "normalize/std", "whiten/kernel"}
    gammas = {path for path in before if path.endswith("gamma")}
    assert still == fixed | gammas


def test_it_learns_the_pictures_it_sees():
    model = small(logit_scale=1 / 8)
    x, y = pictures(32)
    model.adapt(x)
    model.compile(Muon(0.1), SmoothedCrossentropy(0.0), metrics=["accuracy"])
    history = model.fit(x, y, batch_size=32, epochs=15, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]


def test_a_saved_network_comes_back_whole_and_goes_on_alike(tmp_path):
    settings = {"num_classes": 7, "activation": "silu", "logit_scale": 0.1, "batch_norm_momentum": 0.7, "l2": 0.25}
    model = small(**settings)
    x, y = pictures(16)
    y = y % 7
    model.adapt(x)
    model.compile(Muon(0.1), SmoothedCrossentropy(0.1))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, FastNet) and again.settings == model.settings and again.l2 == 0.25
    for each in (model, again):
        each.fit(x, y, verbose=0, shuffle=False)
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_in_half_precision_the_logits_are_float32():
    model = small(dtype="mixed_bfloat16", logit_scale=1.0)
    x, _ = pictures()
    model.adapt(x)
    wide = small(logit_scale=1.0)
    wide.adapt(x)
    assert model(x).dtype == "float32"
    np.testing.assert_allclose(model(x), wide(x), atol=0.02 * np.abs(wide(x)).max())


@pytest.mark.parametrize("wrong", [{"widths": (4, 4)}, {"widths": (4, 4, 0)}, {"num_classes": 2.5}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Received: (num_classes|widths)="):
        FastNet(**wrong)


@pytest.mark.parametrize(
    ("inputs", "filters", "sides"), [(3, 8, (3, 3)), (8, 8, (3, 3)), (8, 5, (3, 3)), (3, 8, (2, 4)), (3, 8, (1, 5))]
)
def test_the_first_filters_copy_the_inputs(inputs, filters, sides):
    keras.utils.set_random_seed(0)
    kernel = PartialIdentity()((*sides, inputs, filters))
    x = np.random.default_rng(0).normal(size=(2, 6, 6, inputs)).astype("float32")
    copied = min(inputs, filters)
    y = tf.nn.conv2d(x, kernel, 1, "SAME").numpy()
    np.testing.assert_array_equal(y[..., :copied], x[..., :copied])
    drawn = np.asarray(kernel)[..., copied:]
    assert drawn.size == 0 or 0 < np.abs(drawn).max() <= 1 / np.sqrt(np.prod(sides) * inputs)


def test_the_initialiser_comes_back_from_its_config():
    made = PartialIdentity("ones")
    again = keras.initializers.deserialize(keras.initializers.serialize(made))
    np.testing.assert_array_equal(again((3, 3, 2, 4)), made((3, 3, 2, 4)))
    with pytest.raises(ValueError, match="Received: shape="):
        made((2, 3))


def test_without_whitening_the_first_convolution_is_trained_like_the_others():
    model = small(whitening=False)
    x, y = pictures(16)
    model.adapt(x)
    assert model.get_layer("first").output.shape == (None, 31, 31, 24)
    kernel = model.get_layer("first").kernel
    assert 0.2 < np.abs(kernel.numpy()).max() <= 1 / np.sqrt(12)
    before = kernel.numpy()
    model.compile(Muon(0.1), SmoothedCrossentropy(0.2))
    model.fit(x, y, verbose=0)
    assert np.abs(kernel.numpy() - before).max() > 0.01


@pytest.mark.parametrize("identity", [True, False])
def test_kernels_begin_as_the_identity_or_drawn(identity):
    kernel = small(identity_start=identity).get_layer("block2").first.kernel.numpy()
    assert (np.count_nonzero(kernel[:, :, :, 0]) == 1) == identity
    assert np.abs(kernel[:, :, :, -1]).max() <= 1 / np.sqrt(9 * WIDTHS[0])  # beyond the inputs drawn in both


def test_drawn_kernels_of_one_shape_differ():
    model = small(widths=(6, 6, 6), identity_start=False)
    kernels = [getattr(model.get_layer(f"block{n}"), name).kernel for n in (1, 2, 3) for name in ("first", "second")]
    values = {kernel.numpy().tobytes() for kernel in kernels}
    assert len(values) == len(kernels)


def test_a_network_without_its_ingredients_comes_back_without_them(tmp_path):
    model = small(whitening=False, identity_start=False)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.settings == model.settings and not again.settings["whitening"]
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_first_bias_and_only_that_stands_still_while_it_is_not_trained():
    x, y = pictures(16)
    ended = {}
    for trained in (True, False):
        model = small(widths=(6, 8, 8))
        model.adapt(x)
        model.compile(Muon(0.1, groups=[ParameterGroup("bias$|beta$|head", 0.01)]), SmoothedCrossentropy(0.2))
        model.train_first_bias(trained)
        model.fit(x, y, batch_size=16, verbose=0)
        ended[trained] = {weight.path: weight.numpy() for weight in model.trainable_weights}
    moved = [path for path in ended[True] if not np.array_equal(ended[True][path], ended[False][path])]
    assert moved == ["whiten/bias"]
    np.testing.assert_array_equal(ended[False]["whiten/bias"], 0)
    model.train_first_bias(True)  # the function that is compiled already takes notice
    model.fit(x, y, batch_size=16, verbose=0)
    assert np.abs(model.get_layer("whiten").bias.numpy()).max() > 0


def test_a_fit_that_an_exception_ended_does_not_freeze_the_first_bias_of_the_next():
    class Boom(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == 3:
                raise RuntimeError("boom")

    x = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), "uint8")
    model = FastNet(num_classes=2, widths=(4, 4, 4))
    model.adapt(x)
    groups = [ParameterGroup("whiten/bias$", fade_steps=1)]
    model.compile(Muon(0.01, groups=groups), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    options = {"batch_size": 4, "verbose": 0}
    with pytest.raises(RuntimeError, match="boom"):
        model.fit(x, np.arange(8) % 2, epochs=3, callbacks=[*model.training_callbacks(), Boom()], **options)
    assert not model.first_bias_trained.numpy()
    model.fit(x, np.arange(8) % 2, **options)
    assert model.first_bias_trained.numpy()
