"""The three ways to a 3x3 convolution give the same sums, and each shape gets the one meant for it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from davidnet_keras import DavidNet, MomentumSGD
from davidnet_keras.kernels import convolution, devices
from davidnet_keras.kernels.convolution import choose, plain_conv2d, small_map_conv2d
from davidnet_keras.kernels.winograd import POINTS, cut, transforms, winograd_conv2d
from davidnet_keras.layers.blocks import Conv3x3

SHAPES = [
    (3, 4, 4, 8, 6),
    (2, 8, 8, 64, 64),
    (2, 16, 8, 5, 7),
    (1, 4, 12, 3, 2),
    (2, 7, 15, 4, 3),
    (3, 3, 5, 2, 6),
    (2, 6, 20, 8, 4),
    (2, 7, 7, 256, 8),
    (1, 13, 1, 3, 2),
    (2, 2, 9, 3, 4),
]


@pytest.fixture(
    params=[(winograd_conv2d, 1), (small_map_conv2d, 1), (small_map_conv2d, 512)],
    ids=["winograd", "stacks", "no_stacks"],
)
def way(request, monkeypatch):
    """One of our own ways; the examples' outputs have fewer than the 512 channels that stacks are made for."""
    function, wide = request.param
    monkeypatch.setattr(convolution, "WIDE", wide)
    return function


def outcome(way, x, kernel, dy):
    """The output and both gradients, as float64 arrays."""
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = way(x, kernel)
    return [np.asarray(tf.cast(value, tf.float64)) for value in (y, *tape.gradient(y, [x, kernel], dy))]


def example(batch, height, width, channels, filters, dtype):
    rng = np.random.default_rng(0)
    shapes = (batch, height, width, channels), (3, 3, channels, filters), (batch, height, width, filters)
    return [tf.cast(rng.standard_normal(shape), dtype) for shape in shapes]


def assert_same(found, true, of_the_largest):
    for one, other in zip(found, true, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=of_the_largest * np.abs(other).max())


@pytest.fixture
def full_float32():
    """As a user asks TensorFlow not to round float32 to TF32."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


@pytest.mark.usefixtures("full_float32")
@pytest.mark.parametrize("shape", SHAPES)
def test_output_and_gradients_are_those_of_the_plain_convolution_in_float64(way, shape):
    assert_near_float64(way, shape, 1e-5)


@pytest.mark.parametrize("shape", [(2, 7, 7, 256, 64), (2, 7, 15, 4, 3), (3, 14, 21, 64, 5)])
def test_where_tf32_is_allowed_winograd_rounds_less_than_it(shape):
    x, kernel, dy = example(*shape, "float32")
    true = outcome(plain_conv2d, *(tf.cast(value, "float64") for value in (x, kernel, dy)))
    in_tf32 = outcome(plain_conv2d, *(tf.cast(as_tf32(value), "float64") for value in (x, kernel, dy)))
    for ours, theirs, exact in zip(outcome(winograd_conv2d, x, kernel, dy), in_tf32, true, strict=True):
        assert np.abs(ours - exact).max() < np.abs(theirs - exact).max() / 2


def as_tf32(x):
    """Float32 with ten bits of mantissa, what a GPU's tensor cores multiply."""
    return tf.bitcast((tf.bitcast(x, tf.int32) + 2**12) & -(2**13), tf.float32)


def assert_near_float64(way, shape, of_the_largest):
    x, kernel, dy = example(*shape, "float32")
    true = outcome(plain_conv2d, *(tf.cast(value, "float64") for value in (x, kernel, dy)))
    assert_same(outcome(way, x, kernel, dy), true, of_the_largest)


@pytest.mark.parametrize("tile", POINTS)
def test_the_transforms_make_a_tile_of_outputs_from_its_inputs(tile):
    rng = np.random.default_rng(tile)
    x, kernel = rng.standard_normal(tile + 2), rng.standard_normal(3)
    inputs, weights, outputs = transforms(tile)
    true = np.correlate(x, kernel, "valid")
    np.testing.assert_allclose(outputs @ ((weights @ kernel) * (inputs @ x)), true, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "tile", "tiles"),
    [(3, 3, 1), (4, 4, 1), (7, 7, 1), (8, 4, 2), (12, 6, 2), (13, 5, 3), (14, 7, 2), (15, 5, 3), (32, 4, 8)],
)
def test_an_axis_has_the_tiles_that_need_the_fewest_products(size, tile, tiles):
    assert cut(size).tile == tile
    assert cut(size).tiles == tiles


@pytest.mark.usefixtures("full_float32")
@pytest.mark.parametrize(("size", "tile"), [(7, 4), (14, 5), (15, 5)])
def test_in_full_float32_the_coarse_tile_is_not_taken(size, tile):
    assert cut(size).tile == tile


@pytest.mark.parametrize("wide", [1, 512])
@pytest.mark.parametrize("batch", [4, 33])
def test_in_bfloat16_small_maps_differ_by_its_rounding_only(monkeypatch, batch, wide):
    monkeypatch.setattr(convolution, "WIDE", wide)
    values = example(batch, 4, 4, 32, 16, "bfloat16")
    true = outcome(plain_conv2d, *(tf.cast(value, "float64") for value in values))
    assert_same(outcome(small_map_conv2d, *values), true, 2**-7)


@pytest.mark.parametrize(("filters", "height"), [(3, 3), (4, 16 * (3 + 1)), (5, 16 * (3 + 1))])
def test_stacks_are_made_where_the_outputs_are_many(monkeypatch, filters, height):
    seen = []
    monkeypatch.setattr(convolution, "WIDE", 4)
    monkeypatch.setattr(convolution, "plain_conv2d", lambda x, w: seen.append(x.shape[1]) or plain_conv2d(x, w))
    convolution.convolve_stacks(*example(17, 3, 5, 2, filters, "float32")[:2])
    assert seen == [height]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_graph_takes_batches_of_any_size(way, jit_compile):
    function = tf.function(
        lambda x, kernel, dy: outcome_in_graph(way, x, kernel, dy), autograph=False, jit_compile=jit_compile
    )
    function = function.get_concrete_function(
        tf.TensorSpec((None, 13, 8, 3)), tf.TensorSpec((3, 3, 3, 5)), tf.TensorSpec((None, 13, 8, 5))
    )
    for batch in (1, 6):
        values = example(batch, 13, 8, 3, 5, "float32")
        true = outcome(plain_conv2d, *(tf.cast(value, "float64") for value in values))
        assert_same([np.asarray(value, "float64") for value in function(*values)], true, 1e-5)


def test_sides_are_known_beforehand_in_a_batch_of_any_size(way):
    """A pool behind it hands back a gradient of the sides that its input was known to have."""

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 6, 3)), tf.TensorSpec((3, 3, 3, 5))], autograph=False)
    def step(x, kernel):
        y = way(x, kernel)
        assert tuple(y.shape) == (None, 8, 6, 5)
        return tf.gradients(tf.nn.max_pool2d(y, 2, 2, "VALID"), [x, kernel])

    assert [gradient.shape for gradient in step(tf.ones((2, 8, 6, 3)), tf.ones((3, 3, 3, 5)))] == [
        (2, 8, 6, 3),
        (3, 3, 3, 5),
    ]


def outcome_in_graph(way, x, kernel, dy):
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = way(x, kernel)
    return (y, *tape.gradient(y, [x, kernel], dy))


def test_an_empty_batch_gives_an_empty_map(way):
    x, kernel, dy = example(0, 8, 8, 3, 5, "float32")
    y, dx, dkernel = outcome(way, x, kernel, dy)
    assert y.shape == (0, 8, 8, 5)
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dkernel, np.zeros(kernel.shape))


@pytest.mark.parametrize(
    ("shape", "filters", "dtype", "way"),
    [
        ((None, 4, 4, 512), 512, "float32", winograd_conv2d),
        ((None, 32, 32, 64), 128, "float32", winograd_conv2d),
        ((None, 32, 32, 3), 64, "float32", plain_conv2d),  # three channels: nothing to gain
        ((None, 3, 3, 256), 256, "float32", winograd_conv2d),  # one tile of three by three
        ((None, 2, 3, 512), 512, "float32", plain_conv2d),  # 25 products for 6 outputs
        ((None, 31, 31, 24), 64, "float32", plain_conv2d),
        ((None, None, None, 512), 512, "float32", plain_conv2d),
        ((None, 4, 4, 512), 512, "bfloat16", small_map_conv2d),
        ((None, 8, 8, 256), 512, "bfloat16", small_map_conv2d),
        ((None, 16, 16, 128), 128, "bfloat16", plain_conv2d),
        ((None, 4, 4, 512), 512, "float16", plain_conv2d),
        ((None, 4, 4, 512), 512, "float64", plain_conv2d),
    ],
)
def test_each_shape_and_precision_has_its_way(shape, filters, dtype, way):
    assert choose(shape, (3, 3, shape[-1], filters), dtype) is way


def test_a_gpu_has_its_own_convolution(monkeypatch):
    monkeypatch.setattr(devices, "visible_gpus", lambda: ["GPU"])
    assert choose((None, 4, 4, 512), (3, 3, 512, 512), "float32") is plain_conv2d


def test_replicas_have_the_plain_convolution():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        assert choose((None, 4, 4, 512), (3, 3, 512, 512), "float32") is plain_conv2d


def test_the_layer_is_keras_conv2d_and_comes_back_from_its_config():
    keras.utils.set_random_seed(0)
    x = tf.random.normal((2, 8, 8, 64))
    ours = Conv3x3(64, use_bias=True, activation="relu", bias_initializer="ones")
    plain = keras.layers.Conv2D(64, 3, padding="same", activation="relu")
    ours.build(x.shape), plain.build(x.shape)
    plain.set_weights(ours.get_weights())
    assert_same([ours(x).numpy()], [plain(x).numpy()], 1e-5)
    again = Conv3x3.from_config(ours.get_config())
    assert again.get_config() == ours.get_config()


@pytest.mark.parametrize(
    "fixed",
    [
        {"kernel_size": 5},
        {"kernel_size": (3, 5)},
        {"strides": 2},
        {"padding": "valid"},
        {"data_format": "channels_first"},
        {"dilation_rate": (2, 2)},
        {"groups": 2},
    ],
)
def test_what_is_fixed_in_the_layer_cannot_be_given_another_value(fixed):
    with pytest.raises(ValueError, match=f"The {next(iter(fixed))} of a Conv3x3 is .*leave it out. Received: "):
        Conv3x3(4, **fixed)
    with pytest.raises(TypeError, match="positional"):
        Conv3x3(4, 3)  # a kernel size for Keras's Conv2D, here once a bias


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_of_davidnet_is_the_same_by_every_way(monkeypatch, dtype):
    """At width 64 and 32x32, so that every layer but the first takes the fast way.

    In float64, for which it is not chosen, the gradients are held to 1e-9. In float32 the least rounding turns a
    maximum or a ReLU of these pictures over now and then: the direct sum's own gradients were 2e-2 of the largest off
    those of float64. There the loss counts, half of each gradient's elements, and each convolution in the tests above.
    """
    x = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    y = np.array([0, 1, 2, 3])

    def stepped():
        keras.utils.set_random_seed(0)
        model = DavidNet(l2=0.1, dropout=0.0, width=64, dtype=dtype)
        model.adapt(x)
        model.compile(MomentumSGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        before = [np.asarray(value) for value in model.trainable_variables]
        loss = model.train_on_batch(x, y)
        return loss, [np.asarray(after) - start for after, start in zip(model.trainable_variables, before, strict=True)]

    seen = []
    monkeypatch.setattr(convolution, "choose", lambda shape, kernel_shape, _: choose(shape, kernel_shape, "float32"))
    monkeypatch.setattr(convolution, "winograd_conv2d", lambda *args: seen.append(1) or winograd_conv2d(*args))
    loss, changes = stepped()
    assert len(seen) == 7
    monkeypatch.setattr(convolution, "choose", lambda *args: plain_conv2d)
    plain_loss, plain_changes = stepped()
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-5)
    for change, plain in zip(changes, plain_changes, strict=True):
        assert np.median(np.abs(change - plain)) <= 1e-3 * np.abs(plain).max()
        if dtype == "float64":
            np.testing.assert_allclose(change, plain, rtol=0, atol=1e-9 * np.abs(plain).max())


def test_davidnet_trains_by_fit_in_bfloat16_with_stacks_as_without(monkeypatch):
    x = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)  # the last batch is smaller

    def losses():
        keras.utils.set_random_seed(0)
        model = DavidNet(dropout=0.0, width=64, dtype="mixed_bfloat16")
        model.adapt(x)
        model.compile(MomentumSGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model.fit(x, np.arange(5), batch_size=3, epochs=2, shuffle=False, verbose=0).history["loss"]

    seen = []
    stacks = convolution.convolve_stacks
    monkeypatch.setattr(convolution, "convolve_stacks", lambda *args: seen.append(args[1].shape[-1]) or stacks(*args))
    ours = losses()
    assert max(seen) == convolution.WIDE == 512
    monkeypatch.setattr(convolution, "choose", lambda *args: plain_conv2d)
    np.testing.assert_allclose(ours, losses(), rtol=0.02)
    assert ours[1] < ours[0]
