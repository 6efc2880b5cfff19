"""David Page's ResNet-9 in Keras: the model, its train step, its data and `train`."""

import importlib

import wrapt

_HOMES = {
    "Augmentation": "augment",
    "Cutout": "augment",
    "Normalization": "normalization",
    "RandomCrop": "augment",
    "RandomFlip": "augment",
    "CIFAR10_CLASSES": "cifar",
    "load_cifar10": "cifar",
    "load_cifar100": "cifar",
    "DataError": "cifar",
    "Dropout": "dropout",
    "tune_tensorflow": "environment",
    "UserError": "errors",
    "ConvBN": "layers",
    "FusedBatchNormalization": "layers",
    "ResidualBlock": "layers",
    "DavidNet": "model",
    "MomentumSGD": "optimizer",
    "steps_per_epoch": "pipeline",
    "test_dataset": "pipeline",
    "train_dataset": "pipeline",
    "choose_precision": "precision",
    "RECIPES": "recipe",
    "Recipe": "recipe",
    "SHAPES_CLASSES": "shapes",
    "load_shapes": "shapes",
    "SumLossModel": "sum_loss",
    "resume": "training",
    "train": "training",
}
__all__ = sorted(_HOMES)


@wrapt.when_imported("keras")
def _register(_):
    # `keras.saving.load_model` finds a class only once its module has been imported; this makes `import davidnet_keras`
    # enough, before or after `import keras`, without importing TensorFlow for a program that needs neither.
    for module in ("augment", "dropout", "layers", "model", "normalization", "optimizer", "sum_loss"):
        importlib.import_module(f"{__name__}.{module}")


def __getattr__(name):
    # Lazy, so that `--help` and the recipes do not wait for TensorFlow.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return __all__
