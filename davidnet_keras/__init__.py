"""David Page's ResNet-9 in Keras: the model, its train step, its data and `train`."""

import importlib

from davidnet_keras.registration import register_with_keras

_HOMES = {
    "hard_gelu": "activations",
    "AlternatingFlip": "alternating_flip",
    "Augmentation": "augment",
    "Cutout": "augment",
    "Normalization": "normalization",
    "build_model": "build",
    "BatchOrigin": "random_batch_layer",
    "RandomBatchLayer": "random_batch_layer",
    "RandomCrop": "augment",
    "RandomFlip": "augment",
    "CIFAR10_CLASSES": "cifar",
    "CIFAR100_CLASSES": "cifar",
    "load_cifar10": "cifar",
    "load_cifar100": "cifar",
    "DataError": "cifar",
    "inference_flops": "cost",
    "training_flops": "cost",
    "Dropout": "dropout",
    "tune_tensorflow": "environment",
    "UserError": "errors",
    "evaluate_run": "evaluate",
    "ConvBN": "layers",
    "FusedBatchNormalization": "layers",
    "ResidualBlock": "layers",
    "SmoothedCrossentropy": "losses",
    "DavidNet": "model",
    "load_model": "model_file",
    "MomentumSGD": "optimizer",
    "read_picture": "pictures",
    "steps_per_epoch": "pipeline",
    "test_dataset": "pipeline",
    "train_dataset": "pipeline",
    "choose_precision": "precision",
    "predict_pictures": "predict",
    "RECIPES": "recipe",
    "Recipe": "recipe",
    "SHAPES_CLASSES": "shapes",
    "load_shapes": "shapes",
    "Interrupted": "stop_signals",
    "SumLossModel": "sum_loss",
    "TestTimeAugmentation": "test_time",
    "resume": "resuming",
    "FastNet": "fastnet",
    "Muon": "muon",
    "ParameterGroup": "parameter_group",
    "PartialIdentity": "dirac",
    "PatchWhitening": "whitening",
    "ConvPoolBlock": "conv_pool_block",
    "resume_runs": "repeated",
    "train_runs": "repeated",
    "train": "training",
}
__all__ = sorted(_HOMES)


# `import davidnet_keras` is enough for `keras.saving.load_model` to find the model's classes.
register_with_keras()


def __getattr__(name):
    # Lazy, so that `--help` and the recipes do not wait for TensorFlow.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return __all__
