"""The cost of a model: each kind of layer against a count by hand, DavidNet against the published figure."""

import math

import keras
import pytest
import tensorflow as tf

from davidnet_keras import ConvBN, DavidNet, ResidualBlock, UserError, inference_flops, training_flops
from davidnet_keras.layers.blocks import Conv3x3
from davidnet_keras.models.cost import cost_text, multiply_accumulates

layers = keras.layers


def model_of(*parts, shape=(8, 6, 4)):
    """The layers one after another, as a functional model."""
    return keras.Sequential([keras.Input(shape), *parts])


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_davidnet_costs_0_379_billion_a_picture_whichever_way_its_convolutions_take(dtype):
    model = DavidNet(dtype=dtype)  # Winograd, patches and shifts among them
    kernels = [(32, 27 * 64), (32, 9 * 64 * 128), (16, 2 * 9 * 128**2), (16, 9 * 128 * 256), (8, 9 * 256 * 512)]
    by_hand = sum(side**2 * weights for side, weights in kernels) + 4**2 * 2 * 9 * 512**2 + 512 * 10
    assert multiply_accumulates(model) == by_hand
    assert by_hand / 1e9 == pytest.approx(0.379, abs=5e-4)
    assert training_flops(model, steps=24, batch=50_000) == 6 * by_hand * 24 * 50_000
    assert training_flops(model, 24, 50_000) / 1e15 == pytest.approx(2.73, abs=0.005)
    assert inference_flops(model, 10_000, views=6) == 2 * by_hand * 60_000


CHANNELS_FIRST = {"data_format": "channels_first"}
KINDS = {  # a layer on (8, 6, 4), and its multiply-accumulates: outputs x what each sums over
    "convolution": (lambda: layers.Conv2D(5, 3, padding="same"), 8 * 6 * 5 * 9 * 4),
    "strides, no padding": (lambda: layers.Conv2D(5, (3, 2), strides=2, padding="valid"), 3 * 3 * 5 * 6 * 4),
    "groups": (lambda: layers.Conv2D(6, 3, groups=2, padding="same"), 8 * 6 * 6 * 9 * 2),
    "dilation": (lambda: layers.Conv2D(5, 3, dilation_rate=2), 4 * 2 * 5 * 9 * 4),
    "channels first": (lambda: layers.Conv2D(5, 3, padding="same", **CHANNELS_FIRST), 6 * 4 * 5 * 9 * 8),
    "our convolution": (lambda: Conv3x3(5), 8 * 6 * 5 * 9 * 4),
    "transposed": (lambda: layers.Conv2DTranspose(5, 3, strides=2), 8 * 6 * 4 * 9 * 5),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), 8 * 6 * 8 * 9),
    "separable": (lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2), 6 * 4 * (8 * 9 + 8 * 5)),
    "dense on maps": (lambda: layers.Dense(5), 8 * 6 * 4 * 5),
    "a block": (lambda: ConvBN(5), 8 * 6 * 5 * 9 * 4),
    "a residual block": (lambda: ResidualBlock(), 2 * 8 * 6 * 4 * 9 * 4),
    "a model in a model": (lambda: model_of(ConvBN(5), layers.Flatten(), layers.Dense(2)), 8640 + 8 * 6 * 5 * 2),
    "a layer for each row": (lambda: layers.TimeDistributed(layers.Dense(5)), 8 * 6 * 4 * 5),
    "no products": (lambda: layers.PReLU(), 0),
    "batch normalisation": (lambda: layers.BatchNormalization(), 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_layer_counts_its_plain_products(kind):
    make, by_hand = KINDS[kind]
    model = model_of(make())
    assert multiply_accumulates(model) == by_hand
    assert multiply_accumulates(model) == by_hand  # counting leaves nothing behind


def test_a_layer_called_twice_counts_twice_and_views_joined_in_the_batch_count_each():
    images, dense = keras.Input((4,)), layers.Dense(4)
    assert multiply_accumulates(keras.Model(images, dense(dense(images)))) == 2 * 16

    class TwoViews(keras.Model):
        def __init__(self, inner):
            images = keras.Input((4,))
            super().__init__(images, inner(keras.ops.concatenate([images, -images], axis=0)))

    assert multiply_accumulates(TwoViews(layers.Dense(3))) == 2 * 12


def test_models_of_several_inputs_and_integer_inputs():
    words, image = keras.Input((7,), dtype="int32", name="words"), keras.Input((8, 6, 4), name="image")
    read = layers.Flatten()(layers.Embedding(100, 3)(words))
    seen = layers.GlobalAveragePooling2D()(ConvBN(5)(image))
    model = keras.Model({"words": words, "image": image}, layers.Dense(2)(layers.Concatenate()([read, seen])))
    assert multiply_accumulates(model) == 8640 + (21 + 5) * 2


def test_counting_changes_no_weight_and_leaves_training_as_it_was():
    model = DavidNet(width=2)
    before = [weight.numpy().copy() for weight in model.weights]
    training_flops(model, 1, 1)
    assert all((old == weight.numpy()).all() for old, weight in zip(before, model.weights, strict=True))
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = tf.zeros((4, 32, 32, 3)), tf.zeros(4, tf.int64)
    model.fit(x, y, verbose=0)
    assert training_flops(model, 1, 1) == 6 * multiply_accumulates(model)


class Mixing(layers.Layer):
    """A product with a kernel of its own, as a user may write one."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

    def call(self, x):
        return keras.ops.matmul(x, self.kernel)


class Accounted(Mixing):
    def multiply_accumulates(self, input_shape):
        return 3 * math.prod(input_shape)


class Looping(layers.Layer):
    def build(self, shape):
        self.dense = layers.Dense(shape[-1])
        self.dense.build(shape)

    def call(self, x):
        return tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, self.dense(x)), [0, x], maximum_iterations=3)[1]


class Borrowing(Looping):
    def call(self, x):
        return keras.ops.matmul(x, self.dense.kernel)


def test_a_layer_may_say_its_own_cost():
    assert multiply_accumulates(model_of(Accounted(), layers.Dense(2))) == 8 * 6 * 4 * 3 + 8 * 6 * 3 * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixing(name="mine"), r"layer mine \(Mixing\).*its weight kernel is not known.*multiply_accumulates"),
        (Looping, r"\(Looping\).*its weight kernel is not known.*multiply_accumulates"),
        (Borrowing, r"\(Borrowing\).*its weight kernel is not known"),
        (lambda: layers.EinsumDense("abcd,de->abce", (8, 6, 5)), r"EinsumDense\).*how it multiplies is not known"),
        (lambda: layers.ConvLSTM1D(2, 3), r"its weight kernel is not known"),
    ],
)
def test_what_is_not_known_is_refused_by_name(make, message):
    model = model_of(make())
    with pytest.raises(UserError, match=message):
        training_flops(model, 1, 1)
    assert not any("call" in vars(layer) for layer in model._flatten_layers())


@pytest.mark.parametrize(
    "make", [lambda: model_of(Conv3x3(2), shape=(None, None, 3)), lambda: keras.Sequential([layers.Dense(2)])]
)
def test_inputs_of_unknown_size_are_refused(make):
    with pytest.raises(UserError, match=r"sizes of the model's inputs.*Received: model="):
        inference_flops(make(), 1)


@pytest.mark.parametrize(
    ("flops", "text"), [(2.73e15, "2.73 PFLOP"), (2.94e14, "0.29 PFLOP"), (6e12, "6.00 TFLOP"), (5e8, "0.50 GFLOP")]
)
def test_a_cost_is_shown_with_its_unit(flops, text):
    assert cost_text(flops) == text
