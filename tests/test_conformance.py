"""Keras's own conformance harness over every public layer, model, loss, initializer and optimizer of ours."""

import inspect

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase  # private, and the only place of the checks that Keras's own layers pass

import davidnet_keras
from davidnet_keras import (
    AlternatingFlip,
    Augmentation,
    BatchOrigin,
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

SHAPE = (2, 4, 6, 3)
ORIGIN = {"call_kwargs": {"origin": BatchOrigin(np.arange(2), 1)}}
# Keras's training check cannot pass `origin`, without which this layer refuses to train.
KNOWS_THE_PICTURES = ORIGIN | {"run_training_check": False}
LAYERS = {
    AlternatingFlip: ({}, SHAPE, KNOWS_THE_PICTURES),
    Augmentation: ({"layers": [RandomCrop(2), RandomFlip()], "seed": 1}, SHAPE, {}),
    ConvBN: ({"filters": 4, "pool": True}, (2, 2, 3, 4), {}),
    ConvPoolBlock: ({"filters": 4}, (2, 2, 3, 4), {}),
    Cutout: ({"size": 2, "fill": [1.0, 2.0, 3.0]}, SHAPE, {}),
    Dropout: ({"rate": 0.5, "seed": 1}, SHAPE, {}),
    FusedBatchNormalization: ({}, SHAPE, {}),
    Normalization: ({"mean": [1.0, 2.0, 3.0], "std": 2.0}, SHAPE, {}),
    PatchWhitening: ({}, (2, 3, 5, 24), {}),
    RandomCrop: ({"padding": 2}, SHAPE, {}),
    RandomFlip: ({}, SHAPE, {}),
    ResidualBlock: ({}, SHAPE, {}),
}
SAME_DTYPE = (AlternatingFlip, Augmentation, Cutout, RandomCrop, RandomFlip)  # that of the pictures, not the policy's


def sequential():
    return keras.Sequential([keras.Input(SHAPE[1:]), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])


def sum_loss_model():
    model = sequential()
    return SumLossModel(model.inputs, model.outputs, l2=0.5)


OTHERS = {
    DavidNet: lambda: DavidNet(num_classes=3, width=4, l2=0.5),
    FastNet: lambda: FastNet(num_classes=3, widths=(4, 4, 4)),
    MomentumSGD: lambda: MomentumSGD(0.5, groups=[ParameterGroup("bias", rate=2.0)]),
    Muon: lambda: Muon(0.5, newton_schulz_steps=2),
    PartialIdentity: lambda: PartialIdentity("he_normal"),
    SmoothedCrossentropy: lambda: SmoothedCrossentropy(0.1, reduction="sum"),
    SumLossModel: sum_loss_model,
    TestTimeAugmentation: lambda: TestTimeAugmentation(sequential(), shifts=1),
}
# Whole networks take longest, and tests/test_configs.py revives them in float32.
POLICY_OF_NETWORK = {DavidNet: "mixed_bfloat16", FastNet: "mixed_float16"}
POLICIES = ["float32", "mixed_bfloat16", "mixed_float16"]
policies = pytest.mark.parametrize("policy", POLICIES)


def by_name(classes):
    return pytest.mark.parametrize("cls", classes, ids=lambda cls: cls.__name__)


def test_every_public_class_that_keras_saves_is_among_them():
    public = [getattr(davidnet_keras, name) for name in davidnet_keras.__all__]
    saved = {each for each in public if inspect.isclass(each) and hasattr(each, "get_config")}
    assert saved == set(LAYERS) | set(OTHERS) | {RandomBatchLayer}  # which is abstract


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed", "ignore:The model does not have any trainable")
@policies
@by_name(LAYERS)
def test_a_layer_behaves_as_keras_demands_of_its_own(cls, policy):
    keras.config.set_dtype_policy(policy)
    arguments, shape, options = LAYERS[cls]
    dtype = "float32" if policy == "float32" or cls in SAME_DTYPE else policy.removeprefix("mixed_")
    # The harness's own check of mixed_float16 does not depend on the policy: once is enough.
    options = {"run_mixed_precision_check": policy == "float32"} | options
    if cls in SAME_DTYPE and policy != "float32":
        options["run_training_check"] = False  # nothing of these layers depends on the policy in training
    TestCase().run_layer_test(cls, arguments, input_shape=shape, expected_output_dtype=dtype, **options)


@pytest.mark.parametrize(
    ("cls", "policy"),
    [(cls, policy) for cls in OTHERS for policy in POLICIES if POLICY_OF_NETWORK.get(cls, policy) == policy],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_is_no_layer_is_revived_whole(cls, policy):
    keras.config.set_dtype_policy(policy)
    TestCase().run_class_serialization_test(OTHERS[cls]())


@policies
@by_name([MomentumSGD, Muon])
def test_an_optimizer_and_the_loss_train_in_every_policy(cls, policy):
    """Keras's harness has no check of optimizers. Under float16 `compile` scales the loss."""
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential([keras.Input((3, 3, 2)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
    model.compile(OTHERS[cls](), SmoothedCrossentropy())
    before = [weight.numpy() for weight in model.trainable_weights]
    loss = model.train_on_batch(np.ones((2, 3, 3, 2), "float32"), np.array([1, 2]))
    assert np.isfinite(loss)
    for weight, start in zip(model.trainable_weights, before, strict=True):
        assert weight.dtype == "float32" and np.isfinite(weight).all() and not np.array_equal(weight, start)


@by_name(LAYERS)
def test_a_layer_refuses_unknown_arguments(cls):
    with pytest.raises((TypeError, ValueError), match="widht"):
        cls(**LAYERS[cls][0], widht=1)
