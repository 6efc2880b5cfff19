"""What every layer does: take arrays where Keras's own do, and give configs of plain Python values."""

import json

import keras
import numpy as np
import pytest

from davidnet_keras import (
    ConvBN,
    ConvPoolBlock,
    Dropout,
    FusedBatchNormalization,
    Normalization,
    PartialIdentity,
    PatchWhitening,
    ResidualBlock,
    hard_gelu,
)
from davidnet_keras.layers.blocks import Conv3x3

LAYERS = {
    "FusedBatchNormalization": FusedBatchNormalization,
    "Dropout": lambda **kwargs: Dropout(0.5, seed=1, **kwargs),
    "ConvBN": lambda **kwargs: ConvBN(5, dropout=0.0, pool=True, **kwargs),
    "ResidualBlock": lambda **kwargs: ResidualBlock(dropout=0.0, **kwargs),
    "ConvPoolBlock": lambda **kwargs: ConvPoolBlock(
        6, "hard_gelu", kernel_initializer=PartialIdentity("ones"), **kwargs
    ),
    "PatchWhitening": PatchWhitening,
    "Normalization": lambda **kwargs: Normalization([1, 2, 3], std=[4.0, 5.0, 6.0], **kwargs),
    "Conv3x3": lambda **kwargs: Conv3x3(4, **kwargs),
    "hard_gelu": lambda **kwargs: keras.layers.Activation(hard_gelu, **kwargs),
}


@pytest.fixture(params=LAYERS.values(), ids=LAYERS)
def make(request):
    return request.param


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_arrays_are_taken_as_tensors_are(make, policy, dtype):
    x = np.random.default_rng(0).normal(4, 2, (4, 6, 6, 3)).astype(dtype)
    layer = make(dtype=policy)
    layer.build(x.shape)
    training = {"training": True} if "training" in layer.call.__code__.co_varnames else {}
    start = layer.get_weights()
    stateless, _ = layer.stateless_call(layer.trainable_variables, layer.non_trainable_variables, x, **training)
    tensor = layer(keras.ops.convert_to_tensor(x, "float32"), **training)
    layer.set_weights(start)
    called = layer.call(x, **training)
    expected = np.asarray(keras.ops.cast(tensor, "float32"))
    tolerance = 2e-5 if policy == "float32" else 0.05
    for y in (stateless, called):
        y = np.asarray(keras.ops.cast(y, "float32"))
        assert y.shape == tuple(layer.compute_output_shape(x.shape))
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_configs_are_plain_values_before_and_after_building(make):
    layer = make()
    before = layer.get_config()
    layer.build((None, 6, 6, 3))
    for config in (before, layer.get_config()):
        assert plain(config), config
        json.dumps(config)


def plain(value):
    """Whether it is made of Python's own types only, not of subclasses as Keras's tracked lists are."""
    if type(value) is dict:
        return all(map(plain, (*value, *value.values())))
    if type(value) in (list, tuple):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


def test_a_model_with_lists_in_its_config_is_saved_as_h5(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 3)), Normalization([1, 2, 3], std=[4.0, 5.0, 6.0])])
    model.save(tmp_path / "model.h5")
    again = keras.saving.load_model(tmp_path / "model.h5")
    x = np.ones((1, 4, 4, 3), "float32")
    np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_elementwise_layers_pass_masks_on():
    masked = keras.layers.Masking()(keras.Input((7, 3)))
    for layer in (Dropout(0.5), Normalization(), FusedBatchNormalization()):
        assert layer(masked)._keras_mask is masked._keras_mask, layer
    assert hard_gelu(masked)._keras_mask is masked._keras_mask
