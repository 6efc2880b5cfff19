"""Every config of ours is plain Python, and what it describes comes back: by config, from `.keras` and from `.h5`."""

import copy
import inspect
import json

import keras
import numpy as np
import pytest

import davidnet_callbacks
import davidnet_keras
from davidnet_callbacks import Cyclical, PiecewiseCosine, PiecewiseLinear, WarmupDecay
from davidnet_keras import (
    AlternatingFlip,
    Augmentation,
    ConvBN,
    ConvPoolBlock,
    Cutout,
    DavidNet,
    Dropout,
    FastNet,
    FusedBatchNormalization,
    MomentumSGD,
    Muon,
    Normalization,
    ParameterGroup,
    PartialIdentity,
    PatchWhitening,
    RandomBatchLayer,
    RandomCrop,
    RandomFlip,
    ResidualBlock,
    SmoothedCrossentropy,
    SumLossModel,
    TestTimeAugmentation,
)

SHAPE = (8, 9, 4)
GROUPS = [ParameterGroup("bias", np.float64(2), np.float64(0.5), fade_steps=3), ParameterGroup("kernel")]


def network_layers():
    return [keras.Input(SHAPE), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]


def graph_of(layers):
    model = keras.Sequential(layers)
    return model.inputs, model.outputs


# Arguments that are not the defaults, as NumPy's types and as lists where those are taken.
LAYERS = {
    AlternatingFlip: lambda: AlternatingFlip(seed=np.int64(3), name="flip"),
    Augmentation: lambda: Augmentation([RandomCrop(np.int32(2)), Augmentation([Cutout(3, [1, 2, 3, 4])])], seed=4),
    ConvBN: lambda: ConvBN(np.int64(6), dropout=np.float32(0.25), pool=np.True_),
    ConvPoolBlock: lambda: ConvPoolBlock(np.int64(6), "relu", np.float32(0.5), keras.initializers.HeNormal(seed=2)),
    Cutout: lambda: Cutout(np.int64(3), fill=[1.0, 2.0, 3.0, 4.0]),
    Dropout: lambda: Dropout(np.float32(0.25), seed=np.int64(5)),
    FusedBatchNormalization: lambda: FusedBatchNormalization(np.float32(0.5), np.float32(0.25), scale=np.False_),
    Normalization: lambda: Normalization(mean=[1.0, 2.0, 3.0, 4.0], std=np.float32([2, 2, 4, 4])),
    PatchWhitening: lambda: PatchWhitening(np.int64(3), np.float32(0.25)),
    RandomCrop: lambda: RandomCrop(np.uint8(3), seed=np.int64(6), dtype="bfloat16"),
    RandomFlip: lambda: RandomFlip(np.float32(0.25), seed=7, trainable=False),
    ResidualBlock: lambda: ResidualBlock(dropout=np.float32(0.25), dtype="mixed_bfloat16"),
}
MODELS = {
    DavidNet: lambda: DavidNet(np.int64(3), np.int64(4), np.float32(0.5), np.float32(0.25), np.float32(0.5)),
    FastNet: lambda: FastNet(
        np.int64(3), np.int64([4, 4, 4]), "relu", np.float32(0.5), np.float32(0.5), False, False, np.float32(0.5)
    ),
    SumLossModel: lambda: SumLossModel(*graph_of(network_layers()), l2=np.float32(0.5), name="sum"),
    TestTimeAugmentation: lambda: TestTimeAugmentation(keras.Sequential(network_layers()), mirror=False, shifts=2),
}
OPTIMIZERS = {
    MomentumSGD: lambda: MomentumSGD(0.5, np.float32(0.75), nesterov=False, groups=GROUPS),
    Muon: lambda: Muon(0.5, np.float32(0.5), np.float32(0.5), np.int64(2), "bfloat16", groups=GROUPS),
}
OTHERS = {
    PartialIdentity: lambda: PartialIdentity(rest="he_normal"),
    SmoothedCrossentropy: lambda: SmoothedCrossentropy(np.float64(0.5), from_logits=np.False_, reduction="sum"),
    Cyclical: lambda: Cyclical(np.float32(0.25), np.float64(0.5), np.int64(2), "triangular2"),
    PiecewiseCosine: lambda: PiecewiseCosine(np.array([0, 2]), [0.5, np.float32(1)]),
    PiecewiseLinear: lambda: PiecewiseLinear([0, 1], np.float32([0.5, 1])),
    WarmupDecay: lambda: WarmupDecay(np.float32(0.5), np.int64(4), np.float64(0.5)),
}
ALL = LAYERS | MODELS | OPTIMIZERS | OTHERS


def by_name(classes):
    return pytest.mark.parametrize("cls", classes, ids=lambda cls: cls.__name__)


def assert_plain(value, path="config"):
    assert type(value) in (dict, list, tuple, str, int, float, bool, type(None)), f"{path} is a {type(value)}"
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        assert_plain(item, f"{path}[{key!r}]")


def test_every_public_class_with_a_config_is_among_them():
    public = [getattr(package, name) for package in (davidnet_keras, davidnet_callbacks) for name in package.__all__]
    with_config = {each for each in public if inspect.isclass(each) and hasattr(each, "get_config")}
    assert with_config == set(ALL) | {RandomBatchLayer}  # which is abstract


@by_name(ALL)
def test_a_config_is_plain_python_and_describes_the_object_whole(cls):
    made = ALL[cls]()
    if cls in LAYERS:
        made.build((None, *SHAPE))
    config = made.get_config()
    assert_plain(config)
    assert copy.deepcopy(config) == config
    as_json = json.dumps(config)
    for copied in (copy.deepcopy(config), json.loads(as_json)):
        # As JSON, since a functional model's own config holds tuples, which its file returns as lists.
        assert json.dumps(cls.from_config(copied).get_config()) == as_json
        assert json.dumps(copied) == as_json  # reading a config does not change it


def saved_and_loaded(model, path, cls):
    model.save(path)
    # An .h5 file does not say which package registered the model's class.
    return keras.saving.load_model(path, {cls.__name__: cls} if path.suffix == ".h5" else None)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("suffix", ["keras", "h5"])
@by_name(LAYERS | MODELS)
def test_a_saved_layer_or_model_predicts_as_before(cls, suffix, tmp_path):
    inputs = keras.Input(SHAPE)
    images = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
    if cls in LAYERS:
        model = keras.Model(inputs, LAYERS[cls]()(inputs))
    else:
        model = MODELS[cls]()
        images = np.zeros((2, 32, 32, 3), "uint8") if cls in (DavidNet, FastNet) else images
    loaded = saved_and_loaded(model, tmp_path / f"model.{suffix}", cls)
    made = loaded.layers[-1] if cls in LAYERS else loaded
    assert type(made) is cls
    np.testing.assert_array_equal(*(each.predict(images, verbose=0) for each in (model, loaded)))


@by_name(OPTIMIZERS)
def test_a_saved_optimizer_trains_as_before(cls, tmp_path):
    """Only from `.keras`: not even Keras's own SGD trains on after it was read from `.h5`."""
    inputs = keras.Input((3, 3, 2))
    outputs = keras.layers.Conv2D(2, 3, name="convolution")(inputs)
    model = keras.Model(inputs, keras.layers.Flatten()(outputs))
    model.compile(OPTIMIZERS[cls](), "mse")
    batch = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype("float32"), np.ones((4, 2), "float32")
    model.train_on_batch(*batch)
    loaded = saved_and_loaded(model, tmp_path / "model.keras", cls)
    assert type(loaded.optimizer) is cls and loaded.optimizer.get_config() == model.optimizer.get_config()
    for each in (model, loaded):
        each.train_on_batch(*batch)
    for weight, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(weight, other)
